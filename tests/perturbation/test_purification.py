import numpy as np
import pytest

from pipeline.perturbation.purification import (
    Entry,
    Fresh,
    flatness,
    ladder_of,
    mean_with_interval,
    missing,
    worst,
)


def fresh(right: list[int], of: int = 10, labels: int = 0) -> Fresh:
    """Rows of three classes with so many right votes, the rest for the next class."""
    votes = np.zeros((len(right), 3), np.int64)
    votes[:, 0], votes[:, 1] = right, of - np.array(right)
    return Fresh(np.full(len(right), labels), votes)


def test_a_tie_is_no_majority() -> None:
    assert fresh([10, 6, 5, 4, 0]).majority.tolist() == [True, True, False, False, False]
    assert fresh([10, 6, 5]).shares.tolist() == [1.0, 0.6, 0.5]


def test_a_row_stands_where_no_attack_takes_it() -> None:
    clean = Entry("clean", "clean", 0, fresh([0, 0, 0, 0]))
    first = Entry("apgd_ce", "adaptive", 4, fresh([9, 1, 8, 8]))
    second = Entry("square", "square", 4, fresh([9, 9, 2, 7]))
    together = worst([clean, first, second])
    assert together["majority_accuracy"] == 0.5
    assert together["one_purification_accuracy"] == pytest.approx((0.9 + 0.1 + 0.2 + 0.7) / 4)


def test_rows_that_all_agree_have_an_interval_of_some_width() -> None:
    assert mean_with_interval(np.ones(8)) == (1.0, pytest.approx(0.025 ** (1 / 8)), 1.0)
    assert mean_with_interval(np.zeros(8)) == (0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 8)))


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        share = generator.beta(2, 1, size=60)  # its mean is 2/3
        _, low, high = mean_with_interval(generator.binomial(20, share) / 20)
        held += low <= 2 / 3 <= high
    assert 0.92 < held / 400 < 0.98


def test_a_curve_that_still_falls_is_not_flat_and_noise_about_a_level_one_is() -> None:
    generator = np.random.default_rng(1)
    before = generator.integers(4, 10, 200)
    level = flatness(
        fresh(list(before)), fresh(list(np.clip(before + generator.choice([-1, 1], 200), 0, 10)))
    )
    assert level["flat"]
    assert abs(level["drop_points"]) < 2
    falling = flatness(fresh(list(before)), fresh(list(before - 1)))
    assert falling["drop_points"] == pytest.approx(10)
    assert not falling["flat"]
    # One point lost on every row: little, and beyond doubt.
    surely = flatness(fresh([90] * 50, of=100), fresh([89] * 49 + [88], of=100))
    assert surely["drop_points"] < 2
    assert not surely["flat"]


def test_sets_that_differ_in_their_draws_alone_are_a_ladder() -> None:
    def attack(draws: int, steps: int = 20) -> dict[str, object]:
        return {"attack": "apgd_ce", "steps": steps, "draws": draws, "seed": draws, "threshold": 1}

    attacks = [(0, attack(8)), (1, attack(2)), (2, attack(16, steps=40)), (3, attack(4))]
    assert ladder_of(attacks) == [1, 3, 0]
    assert ladder_of([(2, attack(16, steps=40))]) == [2]
    assert ladder_of([]) == []


def test_what_the_protocol_lacks_is_named() -> None:
    assert missing(["adaptive", "adaptive", "square", "transfer"], 2) == []
    lacking = missing(["adaptive"], 1)
    assert len(lacking) == 3
    assert "--eot-draws differ" in lacking[0]
    assert "square" in lacking[1]
    assert "without --through" in lacking[2]
