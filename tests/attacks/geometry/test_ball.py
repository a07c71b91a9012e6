"""The ball and its lattice: inside in exact integers, nearest points, even draws."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from attack_driver import some_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.attacks.base import Norm
from pipeline.attacks.geometry.ball import Ball, check_size, largest_change, whole_levels
from pipeline.attacks.methods.deepfool import to_hyperplane
from pipeline.errors import UserError
from pipeline.formats.perturbation.distances import in_ball, linf_levels, squared_l2_levels
from pipeline.pictures import from_unit, to_unit

LINF, L2, L1 = Norm.LINF, Norm.L2, Norm.L1
SPREADS = st.sampled_from([0.05, 1.0, 30.0, 1000.0])


def changes(*norms: Norm) -> Any:
    """Pictures, radii and changes, from thinner than a level to far beyond the ball."""
    return given(
        seed=st.integers(0, 10_000),
        norm=st.sampled_from(norms),
        levels=st.integers(1, 400),
        spread=SPREADS,
    )


def length_in_levels(clean: np.ndarray, stored: np.ndarray, norm: Norm) -> np.ndarray:
    """The change's norm, of L2 its square, of uint8 pictures in exact integers, ``[N]``."""
    change = np.abs(stored.astype(np.int64) - clean.astype(np.int64)).reshape(len(clean), -1)
    if norm is Norm.LINF:
        return change.max(axis=1)
    return (change**2 if norm is Norm.L2 else change).sum(axis=1)


def on_l1_ball(delta: np.ndarray, radius: float, room: np.ndarray) -> np.ndarray:
    """The nearest point of an L1 ball and a box, ``[D]`` in float64: bisection on the threshold.

    The nearest point is ``sign(d) min(max(|d| - t, 0), room)`` with the t that makes its length
    the radius; t is 0 where the box alone keeps it shorter.
    """
    size = np.abs(delta)
    low, high = 0.0, float(size.max())
    if np.minimum(size, room).sum() <= radius:
        high = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        if np.minimum(np.maximum(size - middle, 0), room).sum() > radius:
            low = middle
        else:
            high = middle
    kept: np.ndarray = np.sign(delta) * np.minimum(np.maximum(size - high, 0), room)
    return kept


def on_ball(
    delta: np.ndarray, norm: Norm, radius: float, room: np.ndarray | None = None
) -> np.ndarray:
    """The nearest change of the ball for each of ``[N, D]``, in float64; the box is left to the
    caller but in L1, where the two cannot be told apart."""
    if norm is Norm.LINF:
        return delta.clip(-radius, radius)
    if norm is Norm.L2:
        length = np.sqrt((delta**2).sum(axis=1, keepdims=True)).clip(1e-300)
        return delta * np.minimum(1, radius / length)
    room = np.full_like(delta, np.inf) if room is None else room
    return np.stack([on_l1_ball(d, radius, r) for d, r in zip(delta, room, strict=True)])


def clean_pictures(seed: int) -> np.ndarray:
    clean = np.random.default_rng(seed).integers(0, 256, size=(6, 5, 4, 3), dtype=np.uint8)
    clean[0], clean[1] = 0, 255  # on the box's corners
    return clean


def found_in_ball(
    seed: int, norm: Norm, levels: int, spread: float
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Float pictures in the ball and the box, as an attack moves; the clean ones, also as uint8."""
    clean = clean_pictures(seed)
    delta = np.random.default_rng(seed + 1).standard_normal(clean.shape) ** 3 * spread
    delta = on_ball(delta.reshape(len(clean), -1), norm, levels).reshape(clean.shape)
    unit = ((clean + delta) / 255).clip(0, 1).astype(np.float32)
    return torch.from_numpy(np.moveaxis(unit, -1, 1).copy()), to_unit(clean), clean


@changes(*Norm)
@settings(max_examples=200)
def test_a_snapped_picture_is_in_the_ball_and_near_the_point(
    seed: int, norm: Norm, levels: int, spread: float
) -> None:
    point, x, clean = found_in_ball(seed, norm, levels, spread)
    ball = Ball(norm, levels)
    snapped = ball.snap(point, x)
    stored = from_unit(snapped)
    # What is asked about is what is stored, bit for bit.
    assert torch.equal(snapped, to_unit(stored))
    most = levels**2 if norm is Norm.L2 else levels
    assert (length_in_levels(clean, stored, norm) <= most).all()
    assert ball.contains(snapped, x).all()
    wanted = np.moveaxis(point.double().numpy(), 1, -1) * 255
    assert np.abs(stored - wanted).max() < (0.501 if norm is Norm.LINF else 1.001)


@changes(*Norm)
@settings(max_examples=60)
def test_snapping_a_snapped_picture_changes_no_bit(
    seed: int, norm: Norm, levels: int, spread: float
) -> None:
    point, x, _ = found_in_ball(seed, norm, levels, spread)
    snapped = Ball(norm, levels).snap(point, x)
    assert torch.equal(Ball(norm, levels).snap(snapped, x), snapped)


@changes(Norm.L2, Norm.L1)
@settings(max_examples=60)
def test_snapping_never_turns_a_change_round_nor_makes_it_longer(
    seed: int, norm: Norm, levels: int, spread: float
) -> None:
    point, x, clean = found_in_ball(seed, norm, levels, spread)
    stored = from_unit(Ball(norm, levels).snap(point, x))
    wanted = np.moveaxis(point.double().numpy(), 1, -1) * 255 - clean
    change = stored.astype(np.int64) - clean
    assert (np.sign(change) * np.sign(wanted) >= 0).all()
    power = 2 if norm is Norm.L2 else 1
    before = (np.abs(wanted) ** power).reshape(6, -1).sum(axis=1)
    # float32 pictures times 255 are off by up to 2e-5 a value
    assert (length_in_levels(clean, stored, norm) <= before * (1 + 1e-4) + 1e-2).all()


@pytest.mark.parametrize("norm", list(Norm))
def test_whole_levels_inside_the_ball_stay_as_they_are(norm: Norm) -> None:
    clean = torch.full((1, 1, 1, 3), 100.0) / 255
    point = torch.tensor([103.0, 96.0, 100.0]).reshape(1, 1, 1, 3) / 255
    levels = {LINF: 4, L2: 5, L1: 7}[norm]  # the change's own length
    assert torch.equal(Ball(norm, levels).snap(point, clean), point)


@pytest.mark.parametrize("norm", list(Norm))
def test_the_clean_picture_stays_the_clean_picture(norm: Norm) -> None:
    x = to_unit(clean_pictures(3))
    assert torch.equal(Ball(norm, 3).snap(x, x), x)
    assert torch.equal(Ball(norm, 3).project(x, x), x)


def levels_of(picture: Tensor) -> list[int]:
    return from_unit(picture).astype(int).ravel().tolist()  # type: ignore[no-any-return]


def test_linf_snaps_to_the_nearest_level() -> None:
    clean = torch.full((1, 1, 1, 4), 100.0) / 255
    point = torch.tensor([100.4, 101.6, 98.2, 103.0]).reshape(1, 1, 1, 4) / 255
    assert levels_of(Ball(LINF, 3).snap(point, clean)) == [100, 102, 98, 103]


def test_what_lies_a_rounding_error_outside_comes_back_in() -> None:
    clean = torch.full((1, 1, 1, 2), 100.0) / 255
    point = torch.tensor([103.6, 96.4]).reshape(1, 1, 1, 2) / 255
    assert levels_of(Ball(LINF, 3).snap(point, clean)) == [103, 97]
    for norm, end in ((L2, 103.0002), (L1, 103.0002)):
        point = torch.tensor([end, 100.0]).reshape(1, 1, 1, 2) / 255
        assert levels_of(Ball(norm, 3).snap(point, clean)) == [103, 100]


def test_l2_raises_only_as_many_values_as_the_point_is_long() -> None:
    # Nine values of 0.6 levels have length 1.8; nine whole levels would have length 3.
    clean = torch.full((1, 1, 3, 3), 100.0) / 255
    point = torch.full((1, 1, 3, 3), 100.6) / 255
    # 1.8² = 3.24, so three values are raised and no more
    assert sum(levels_of(Ball(L2, 2).snap(point, clean))) == 903


def test_l1_raises_those_first_that_lost_the_most() -> None:
    clean = torch.full((1, 1, 1, 4), 100.0) / 255
    point = torch.tensor([101.3, 99.1, 100.8, 100.2]).reshape(1, 1, 1, 4) / 255
    # Sizes 1.3, 0.9, 0.8 and 0.2 sum to 3.2; cut to 1, 0, 0, 0 they leave two levels to give.
    assert levels_of(Ball(L1, 10).snap(point, clean)) == [101, 99, 101, 100]


@pytest.mark.parametrize(
    ("norm", "levels", "least", "most"), [(L2, 30, 880, 900), (L1, 3000, 2990, 3000)]
)
def test_a_change_thinner_than_half_a_level_is_not_lost(
    norm: Norm, levels: int, least: int, most: int
) -> None:
    # 10,000 values of 0.3 levels round to nothing, though the change is 30 levels long in L2.
    clean = torch.full((1, 1, 100, 100), 100.0) / 255
    point = torch.full((1, 1, 100, 100), 100.3) / 255
    assert least <= sum(levels_of(Ball(norm, levels).snap(point, clean))) - 1_000_000 <= most


@pytest.mark.parametrize(("norm", "values", "levels"), [(L2, 530, 23), (L1, 2999, 2998)])
def test_many_values_just_below_a_level_do_not_leave_the_ball_together(
    norm: Norm, values: int, levels: int
) -> None:
    # 530 equal values on the sphere of radius 23 are 0.99906 levels each, which is taken for a
    # whole one (floats miss it by less than 0.001): 530 > 23². The last stays where it was.
    clean = torch.full((1, 1, 1, values), 100.0) / 255
    size = levels / values if norm is Norm.L1 else levels / values**0.5
    assert 0.999 < size < 1
    point = torch.full((1, 1, 1, values), 100.0 + size) / 255
    snapped = Ball(norm, levels).snap(point, clean)
    assert Ball(norm, levels).contains(snapped, clean).all()
    assert sum(levels_of(snapped)) - 100 * values == values - 1


def test_contains_decides_in_whole_levels() -> None:
    clean = torch.zeros(2, 1, 2, 2)
    points = clean.clone()
    points[0, 0, 0, 0], points[0, 0, 1, 1], points[1, 0, 1, 0] = 3 / 255, 4 / 255, 1.0
    expected = {
        (LINF, 4): [True, False],
        (LINF, 3): [False, False],
        (LINF, 255): [True, True],
        (L2, 5): [True, False],  # 3² + 4² = 5²
        (L2, 4): [False, False],
        (L2, 255): [True, True],
        (L1, 7): [True, False],
        (L1, 6): [False, False],
        (L1, 255): [True, True],
    }
    for (norm, levels), inside in expected.items():
        assert Ball(norm, levels).contains(points, clean).tolist() == inside, (norm, levels)


def test_distances_of_stored_pictures_are_counted_in_levels() -> None:
    clean = np.zeros((2, 2, 2, 1), np.uint8)
    stored = clean.copy()
    stored[0, 0, 0, 0], stored[0, 1, 1, 0], stored[1, 0, 1, 0] = 3, 4, 255
    assert linf_levels(clean, stored).tolist() == [4, 255]
    assert squared_l2_levels(clean, stored).tolist() == [25, 255 * 255]
    assert in_ball(clean, stored, "l2", 5).tolist() == [True, False]
    assert in_ball(stored, clean, "linf", 4).tolist() == [True, False]


@changes(*Norm)
@settings(max_examples=60)
def test_project_finds_the_nearest_point_and_clips_it(
    seed: int, norm: Norm, levels: int, spread: float
) -> None:
    clean = to_unit(clean_pictures(seed))
    generator = np.random.default_rng(seed + 1)
    delta = generator.standard_normal(clean.shape) ** 3 * spread / 255
    delta[2] = 0
    point = clean + torch.from_numpy(delta).float()
    projected = Ball(norm, levels).project(point, clean)
    before = (point.double() - clean.double()).flatten(1).numpy()
    flat = clean.double().flatten(1).numpy()
    room = np.where(before > 0, 1 - flat, flat)
    nearest = torch.from_numpy(on_ball(before, norm, levels / 255, room))
    expected = (clean.double() + nearest.reshape(clean.shape)).clamp(0, 1)
    # The spread reaches some 100 units; the float32 arithmetic of such points costs 1e-5.
    scale = max(1.0, float(np.abs(before).max()))
    torch.testing.assert_close(projected.double(), expected, rtol=0, atol=3e-6 * scale)
    assert projected.min() >= 0
    assert projected.max() <= 1


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("share", [0.5, 0.999, 1.001, 1.3, 2.0, 10.0])
def test_project_moves_what_lies_outside_and_nothing_else(norm: Norm, share: float) -> None:
    clean = torch.full((4, 1, 4, 5), 0.5)
    delta = torch.randn(4, 20, generator=torch.Generator().manual_seed(0))
    order = {LINF: torch.inf, L2: 2, L1: 1}[norm]
    # ε = 0.2: these changes have the norm share * ε.
    delta = delta / torch.linalg.vector_norm(delta, ord=order, dim=1, keepdim=True) * 0.2 * share
    projected = Ball(norm, 51).project(clean + delta.reshape(clean.shape), clean) - clean
    room = np.full((4, 20), 0.5)
    nearest = torch.from_numpy(on_ball(delta.double().numpy(), norm, 0.2, room)).float()
    expected = nearest.reshape(clean.shape).clamp(-0.5, 0.5)
    torch.testing.assert_close(projected, expected, rtol=0, atol=1e-6)
    length = torch.linalg.vector_norm(projected.flatten(1), ord=order, dim=1)
    torch.testing.assert_close(length, torch.full((4,), 0.2 * min(1.0, share)), rtol=0, atol=1e-5)


def test_the_l1_projection_by_hand() -> None:
    clean = torch.full((1, 1, 1, 4), 0.5)
    point = clean + torch.tensor([0.3, -0.2, 0.05, 0.0])
    # The threshold t with (0.3 - t) + (0.2 - t) = 51 / 255 = 0.2 is 0.15, above 0.05.
    expected = clean + torch.tensor([0.15, -0.05, 0.0, 0.0])
    torch.testing.assert_close(Ball(L1, 51).project(point, clean), expected)


@pytest.mark.parametrize("norm", [LINF, L2])
def test_the_steepest_direction_has_norm_one_and_the_largest_inner_product(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(5, 2, 3, 4, generator=generator, dtype=torch.float64)
    steepest = Ball(norm, 8).steepest(gradient)
    order = {LINF: torch.inf, L2: 2}[norm]
    lengths = torch.linalg.vector_norm(steepest.flatten(1), ord=order, dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    reached = (steepest * gradient).flatten(1).sum(dim=1)
    # Hölder: no direction of norm 1 does better than the gradient's dual norm.
    dual = {LINF: 1, L2: 2}[norm]
    torch.testing.assert_close(
        reached, torch.linalg.vector_norm(gradient.flatten(1), ord=dual, dim=1)
    )
    others = torch.randn(2000, 1, 24, generator=generator, dtype=torch.float64)
    others = others / torch.linalg.vector_norm(others, ord=order, dim=2, keepdim=True)
    assert ((others * gradient.flatten(1)).sum(dim=2) <= reached + 1e-12).all()


def test_the_steepest_direction_of_l1_is_the_largest_hundredth_of_the_values() -> None:
    gradient = torch.zeros(2, 1, 20, 20)
    gradient.view(2, 400)[0] = torch.linspace(-1.0, 0.9, 400)
    gradient[1, 0, 3, 4] = -2.0
    steepest = Ball(L1, 8).steepest(gradient).reshape(2, 400)
    # Four of 400, at the negative end; a row with one value puts the whole step there.
    assert steepest[0].nonzero().flatten().tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(steepest[0, :4], torch.full((4,), -0.25))
    assert steepest[1].nonzero().flatten().tolist() == [64]  # 3 * 20 + 4
    assert steepest[1, 64] == -1.0


def test_the_steepest_direction_of_l1_in_few_values_is_the_largest_one() -> None:
    gradient = torch.tensor([[0.3, -0.9, 0.5]]).reshape(1, 1, 1, 3)
    assert Ball(L1, 8).steepest(gradient).flatten().tolist() == [0.0, -1.0, 0.0]


@pytest.mark.parametrize("norm", list(Norm))
def test_no_gradient_is_no_direction(norm: Norm) -> None:
    nothing = torch.zeros(2, 1, 3, 3)
    assert torch.equal(Ball(norm, 8).steepest(nothing), nothing)


@pytest.mark.parametrize("norm", list(Norm))
def test_random_points_fill_the_ball_evenly(norm: Norm) -> None:
    num, dimension, ball = 8000, 3, Ball(norm, 51)  # ε = 0.2
    x = torch.full((num, 1, 1, dimension), 0.5)
    delta = ((ball.random_point(some_rows(x), 0) - x) / ball.eps).flatten(1).double()
    order = {LINF: torch.inf, L2: 2, L1: 1}[norm]
    radius = torch.linalg.vector_norm(delta, ord=order, dim=1)
    assert float(radius.max()) <= 1 + 1e-5
    # Volume grows as r³, so r³ is uniform: its mean and its largest gap to a uniform law
    # (Kolmogorov-Smirnov; 1.95 / sqrt(N) is exceeded once in 1,000).
    uniform = (radius**dimension).sort().values
    gap = (uniform - (torch.arange(num) + 0.5) / num).abs().max()
    assert float(gap) < 1.95 / math.sqrt(num)
    # Of one value in the unit ball of d = 3: E x = 0 and E x² = 1/3, 1/(d+2), 2/((d+1)(d+2)).
    power = {LINF: 1 / 3, L2: 1 / 5, L1: 1 / 10}[norm]
    assert float(delta.mean(dim=0).abs().max()) < 4 * math.sqrt(power / num)
    second = delta.T @ delta / num
    torch.testing.assert_close(
        second, power * torch.eye(dimension, dtype=torch.float64), rtol=0, atol=5 * power / 90
    )
    # E |x| tells apart what has the same second moments: 1/2, 3/8, 1/(d+1).
    size = {LINF: 1 / 2, L2: 3 / 8, L1: 1 / 4}[norm]
    torch.testing.assert_close(
        delta.abs().mean(dim=0), torch.full((3,), size, dtype=torch.float64), rtol=0.03, atol=0
    )


@pytest.mark.parametrize("norm", list(Norm))
def test_random_points_stay_in_the_box(norm: Norm) -> None:
    x = torch.cat((torch.zeros(50, 1, 2, 2), torch.ones(50, 1, 2, 2)))
    point = Ball(norm, 600).random_point(some_rows(x), 0)
    assert point.min() >= 0
    assert point.max() <= 1
    assert not torch.equal(point, x)


@pytest.mark.parametrize("norm", list(Norm))
def test_random_points_differ_by_row_seed_and_restart(norm: Norm) -> None:
    x = torch.full((2, 1, 4, 4), 0.5)
    point = Ball(norm, 20).random_point(some_rows(x), 0)
    assert not torch.equal(point[0], point[1])
    assert not torch.equal(point, Ball(norm, 20).random_point(some_rows(x, seed=1), 0))
    assert not torch.equal(point, Ball(norm, 20).random_point(some_rows(x, restart=1), 0))
    assert torch.equal(point, Ball(norm, 20).random_point(some_rows(x), 0))


@pytest.mark.parametrize(
    ("eps", "levels"),
    [(1 / 255, 1), (8 / 255, 8), (0.1, 25), (0.03, 7), (1.0, 255), (2.0, 510)],
)
def test_eps_counts_whole_levels_downwards(eps: float, levels: int) -> None:
    assert whole_levels(eps, L2) == levels


@given(levels=st.integers(1, 100_000))
@settings(max_examples=200)
def test_a_radius_of_whole_levels_keeps_them(levels: int) -> None:
    assert whole_levels(levels / 255, L2) == levels
    assert whole_levels(Ball(L2, levels).eps, L2) == levels


@pytest.mark.parametrize("eps", [0.0, 0.0039, -1.0, float("nan"), float("inf")])
def test_eps_below_one_level_is_a_user_error(eps: float) -> None:
    with pytest.raises(UserError, match="less than one level"):
        whole_levels(eps, L2)


@pytest.mark.parametrize(
    ("eps", "norm", "shape", "told"),
    [
        (8, LINF, (), "eps 8 lies outside 0 to 1, .* in linf; did you mean 8/255 \\(0.0314\\)?"),
        (1.5, LINF, (8, 8, 1), "eps 1.5 lies outside 0 to 1, .* it is given in"),
        (
            128,
            L2,
            (8, 8, 1),
            "eps 128 lies outside 0 to 8, .* of 8x8x1 values, in l2; did you mean",
        ),
        (65, Norm.L1, (8, 8, 1), "eps 65 lies outside 0 to 64"),
        (3000, L2, (8, 8, 1), "eps 3000 lies outside 0 to 8, .* it is given in"),
    ],
)
def test_a_radius_beyond_every_picture_is_refused_with_what_was_meant(
    eps: float, norm: Norm, shape: tuple[int, ...], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        check_size("eps", eps, norm, shape)


def test_the_largest_change_itself_is_a_radius() -> None:
    for norm in Norm:
        check_size("eps", largest_change(norm, (7, 5, 3)), norm, (7, 5, 3))
        black, white = np.zeros((1, 7, 5, 3), np.uint8), np.full((1, 7, 5, 3), 255, np.uint8)
        most = round(255 * largest_change(norm, (7, 5, 3)) + 0.5)
        assert in_ball(black, white, norm.value, most).all()
        assert not in_ball(black, white, norm.value, most - 2).any()
    check_size("eps", 128, L2)  # not known yet


def test_a_norm_that_is_none_of_the_three_counts_as_none_of_them() -> None:
    picture = np.zeros((1, 2, 2, 1), np.uint8)
    for norm in ("l0", "linf ", "L2", "euclidean"):
        for eps in (0, 8):
            with pytest.raises(UserError, match="there is no norm"):
                in_ball(picture, picture, norm, eps)
        with pytest.raises(ValueError, match="there is no norm"):
            Ball(norm, 8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not for l1"):
        to_hyperplane(torch.ones(1), torch.ones(1, 1, 2, 2), L1)
