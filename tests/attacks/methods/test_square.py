"""Square attack: what it changes, what it keeps, and the corner that it finds in the end."""

from math import sqrt

import pytest
import torch
from attack_driver import Recorder, conv_network, drive, lattice_pictures, some_rows
from linear_models import TwoClassLinear, dual_norm
from torch import Tensor

from pipeline.attacks import base, losses
from pipeline.attacks.base import Norm, State
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.square import Square
from pipeline.errors import UserError
from pipeline.perturbation_terms import MARGIN

LINF8 = Ball(Norm.LINF, 8)
GREY = 120.0 / 255


def levels(x: Tensor) -> Tensor:
    return (x * 255).round()


def asked_from_grey(square: Square, step: int | Tensor, num: int, side: int) -> Tensor:
    """What is asked at a step from grey pictures ``[num, 3, side, side]``: changes in levels."""
    clean = torch.full((num, 3, side, side), GREY)
    recorder = Recorder(lambda x: torch.zeros(x.shape[0], 2), torch.zeros(num, dtype=torch.int64))
    rows = some_rows(clean, step=step)
    state = {**square.begin(rows), "point": clean, "loss": torch.full((num,), torch.inf)}
    square.step(rows, state, recorder)
    return levels(recorder.asked[0]) - levels(clean)


def side_of_square(query: int, queries: int, side: int) -> int:
    """The published schedule: of 10,000 queries p = 0.8 is halved after the 10th, 50th and so on.

    The square of a picture of ``side`` squared pixels has the side ``sqrt(p side²)``.
    """
    p, at = 0.8, 10_000 * query // queries
    for last in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
        if at > last:
            p /= 2
    return max(1, round(sqrt(p * side * side)))


def squares_by_hand(clean: Tensor, step: int, steps: int, before: State, after: State) -> Tensor:
    """Each row's point with the square that its step drew, in a ball of one level, in levels."""
    pictures = levels(before["point"])
    size = clean.shape[-1]
    side = side_of_square(step, steps, size)
    if step > 0:
        drawn = after["drawn"][torch.arange(len(clean)), step - after["drawn_from"]]
        for row, numbers in enumerate(drawn):
            top, left = (int(number * (size - side + 1)) for number in numbers[:2])
            window = slice(top, top + side), slice(left, left + side)
            sign = 1 if numbers[2] >= 0.5 else -1
            pictures[row, 0][window] = (clean[row, 0][window] + sign).clamp(0, 255)
    return pictures


def test_a_step_changes_exactly_a_square_and_each_channel_to_one_end() -> None:
    steps = [1, 10, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001, 9999]
    step = torch.tensor(steps).repeat_interleave(20)
    change = asked_from_grey(Square(LINF8, 10_000), step, len(step), 16)
    sides = set()
    for picture, at in zip(change, step.tolist(), strict=True):
        rows, columns = picture[0].any(dim=1), picture[0].any(dim=0)
        side = side_of_square(at, 10_000, 16)
        sides.add(side)
        top, left = int(rows.int().argmax()), int(columns.int().argmax())
        window = picture[:, top : top + side, left : left + side]
        assert window.shape == (3, side, side)
        assert int((picture != 0).sum()) == 3 * side * side
        for channel in window:
            assert channel.unique().tolist() in ([-8.0], [8.0])
    assert sides == {14, 10, 7, 5, 4, 3, 2, 1}


def test_the_schedule_is_stretched_to_the_number_of_queries() -> None:
    square = Square(LINF8, 500)
    for step in (1, 3, 11, 26, 51, 101, 201, 301, 401, 499):
        change = asked_from_grey(square, step, 4, 16)
        side = side_of_square(step, 500, 16)
        assert ((change != 0).sum(dim=(1, 2, 3)) == 3 * side * side).all(), step


def test_squares_lie_everywhere_evenly_with_even_signs() -> None:
    num = 6000
    # After 200 of 10,000 queries p is 0.1: on 8 x 8 pixels a side of 3, which has 6 x 6 places.
    change = asked_from_grey(Square(LINF8, 10_000), 201, num, 8)
    changed = change[:, 0] != 0
    top = changed.any(dim=2).int().argmax(dim=1)
    left = changed.any(dim=1).int().argmax(dim=1)
    counts = torch.bincount(top * 6 + left, minlength=36).double()
    assert len(counts) == 36
    # chi² of 35 degrees of freedom exceeds 66.6 once in 1,000
    assert float(((counts - num / 36) ** 2 / (num / 36)).sum()) < 66.6
    signs = change.amax(dim=(2, 3)) > 0
    combinations = torch.bincount(signs.long() @ torch.tensor([1, 2, 4]), minlength=8).double()
    # 7 degrees of freedom: 24.3
    assert float(((combinations - num / 8) ** 2 / (num / 8)).sum()) < 24.3


def test_the_largest_draw_still_gives_a_whole_square(monkeypatch: pytest.MonkeyPatch) -> None:
    # The generator's largest number, 1 - 2**-33, is 1 in float32.
    def largest(seed: Tensor, index: Tensor, *others: object) -> Tensor:
        shape = others[-1]
        assert isinstance(shape, tuple)
        return torch.full((len(index), *shape), 1 - 2.0**-33, dtype=torch.float64)

    monkeypatch.setattr(base, "keyed_uniform", largest)
    change = asked_from_grey(Square(LINF8, 10_000), 201, 1, 8)
    assert int((change != 0).sum()) == 3 * 3 * 3
    assert (change[:, :, 5:, 5:] != 0).all()


def test_the_first_picture_is_of_vertical_stripes() -> None:
    network, x = conv_network(), lattice_pictures(40)
    y = torch.zeros(40, dtype=torch.int64)
    asked, _, _ = drive(Square(LINF8, 1), network, x, y)
    assert len(asked) == 1
    clean = levels(x)
    down, up = (clean - 8).clamp_min(0), (clean + 8).clamp_max(255)
    is_down, is_up = levels(asked[0]) == down, levels(asked[0]) == up
    # Each column goes one way from top to bottom.
    assert (is_down.all(dim=2) | is_up.all(dim=2)).all()
    up_columns = is_up.all(dim=2)[2:, 0]  # [38, 6]
    assert abs(float(up_columns.float().mean()) - 0.5) < 4 * 0.5 / (38 * 6) ** 0.5
    # Whether its neighbour goes the same way is a coin of its own.
    same = (up_columns[:, 1:] == up_columns[:, :-1]).float().mean()
    assert abs(float(same) - 0.5) < 4 * 0.5 / (38 * 5) ** 0.5


def test_every_value_of_every_picture_lies_at_an_end_of_the_ball_or_box() -> None:
    network, x = conv_network(), lattice_pictures(12)
    y = torch.zeros(12, dtype=torch.int64)
    clean = levels(x)
    ends = (clean - 8).clamp_min(0), (clean + 8).clamp_max(255)
    asked, _, recorder = drive(Square(LINF8, 60), network, x, y)
    assert len(asked) == 60
    for picture, mask in zip(asked, recorder.masks, strict=True):
        assert ((levels(picture) == ends[0]) | (levels(picture) == ends[1]))[mask].all()


def test_the_margin_never_falls_and_is_that_of_the_picture_kept() -> None:
    network, x = conv_network(), lattice_pictures(12)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    asked, states, _ = drive(Square(LINF8, 80), network, x, y)
    best = torch.full((12,), -torch.inf)
    kept = 0
    for picture, state in zip(asked, states[1:], strict=True):
        with torch.no_grad():
            margin = losses.margin(network(picture), y).nan_to_num(nan=-torch.inf)  # unasked
            again = losses.margin(network(state["point"]), y)
        kept += int((margin > best).sum())
        best = torch.maximum(best, margin)
        torch.testing.assert_close(state["loss"], best)
        torch.testing.assert_close(again, best)
    assert 12 < kept < 12 * 80


def test_a_square_that_makes_no_difference_is_not_kept() -> None:
    def same(x: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).repeat(x.shape[0], 1)

    asked, states, _ = drive(Square(LINF8, 20), same, lattice_pictures(6), torch.zeros(6).long())
    assert not torch.equal(asked[1], asked[0])
    for state in states[1:]:
        assert torch.equal(state["point"], asked[0])


@pytest.mark.parametrize("seed", [0, 1])
def test_a_linear_classifier_breaks_exactly_where_the_corner_breaks_it(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(1, 4, 4, generator=generator)
    x = torch.randint(60, 190, (1, 1, 4, 4), generator=generator).float() / 255
    x, y = x.repeat(3, 1, 1, 1), torch.ones(3, dtype=torch.int64)
    model = TwoClassLinear(weight, 0.0)
    model.bias = 0.4 - float(model.margin(x)[0])
    smallest = int((0.4 + MARGIN) / dual_norm(weight, Norm.LINF) * 255) + 1
    # One of 16 pixels goes one of two ways: 600 queries try each some 17 times.
    for radius in (smallest - 1, smallest):
        found = attack_rows(
            Square(Ball(Norm.LINF, radius), 600), model, x, y, torch.arange(3), rows_per_call=3
        )
        assert found.broken.tolist() == [radius == smallest] * 3
        assert found.backwards.tolist() == [0] * 3
        if radius < smallest:
            assert torch.equal(found.adversarial, (levels(x) - radius * weight.sign()) / 255)


def test_squares_that_change_nothing_are_not_asked_about_and_all_others_are() -> None:
    network, x = conv_network(), lattice_pictures(8)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    square = Square(Ball(Norm.LINF, 1), 30)
    asked, states, recorder = drive(square, network, x, y)
    spared = torch.zeros(8, dtype=torch.int64)
    for step, (picture, mask) in enumerate(zip(asked, recorder.masks, strict=True)):
        assert mask is not None
        expected = squares_by_hand(levels(x), step, 30, states[step], states[step + 1])
        changes = (expected != levels(states[step]["point"])).flatten(1).any(dim=1)
        assert torch.equal(mask, changes | (step == 0))
        assert torch.equal(levels(picture)[mask], expected[mask])
        spared += ~mask
    found = attack_rows(square, network, x, y, torch.arange(8), rows_per_call=8)
    unbroken = ~found.broken
    assert unbroken.any()
    assert (spared[unbroken] > 0).all()
    assert torch.equal(found.forwards[unbroken], (1 + 30 - spared)[unbroken])


@pytest.mark.parametrize("norm", [Norm.L2, Norm.L1])
def test_other_norms_than_linf_are_user_errors(norm: Norm) -> None:
    with pytest.raises(UserError, match=f"not {norm.value}; use pgd"):
        Square(Ball(norm, 100))


@pytest.mark.parametrize("num", [2, 3])
def test_squares_tried_ahead_change_no_row_and_no_count(num: int) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randint(-20, 21, (3, 2 * 9 * 9), generator=generator).double()

    def exact(x: Tensor) -> Tensor:  # whole numbers, whatever the call's size
        return ((x.double() * 255).round().flatten(1) @ weight.T).float()

    clean = lattice_pictures(num, (2, 9, 9), seed=2)
    y, rows = exact(clean).argmax(dim=1), torch.arange(num)
    square = Square(Ball(Norm.LINF, 5), 300)
    # A call of one row has room for no further square.
    in_turn, ahead = (
        attack_rows(square, exact, clean, y, rows, rows_per_call=size) for size in (1, 64)
    )
    for name in ("adversarial", "margin", "step", "forwards", "broken"):
        assert torch.equal(getattr(ahead, name), getattr(in_turn, name)), name
    asked = int(ahead.forwards.sum())
    assert asked == in_turn.calls
    assert ahead.calls < asked / num / 1.5
