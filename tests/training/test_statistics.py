"""What the schedule needs to know of the data, against numpy."""

import math

import numpy as np
import pytest
from oracles import haar_matrices

from pipeline.errors import UserError
from pipeline.training.statistics import DataStatistics, check_sides, measure, stages_for

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 12, 3), dtype=np.uint8)
IMAGES[..., 1] //= 3  # channels and bands of different power
IMAGES[:, ::2] //= 2


def flat(images: np.ndarray) -> np.ndarray:
    """``[N, C H W]`` in [-1, 1]."""
    return np.moveaxis(images / 127.5 - 1, -1, 1).reshape(len(images), -1)


def test_second_moments_at_each_resolution_are_numpys() -> None:
    found = measure([IMAGES], [2, 4, 8])
    x8 = flat(IMAGES)
    low8, high8 = (m.numpy() for m in haar_matrices((3, 8, 12)))
    x4 = x8 @ low8.T
    low4, high4 = (m.numpy() for m in haar_matrices((3, 4, 6)))
    x2 = x4 @ low4.T
    assert found.sides == (2, 4, 8)
    expected = [math.sqrt((x**2).mean()) for x in (x2, x4, x8)]
    np.testing.assert_allclose(found.sigma_data, expected, rtol=1e-6)
    bands = [
        ((x @ high.T) ** 2).reshape(40, 3, 3, -1).mean(axis=(0, 3))
        for x, high in ((x4, high4), (x8, high8))
    ]
    np.testing.assert_allclose(found.tau2, bands, rtol=1e-5)


def test_batches_of_any_size_in_any_order_give_the_same_statistics() -> None:
    whole = measure([IMAGES], [4, 8])
    parts = measure([IMAGES[25:], IMAGES[:7], IMAGES[7:25]], [8, 4])
    assert parts.sides == whole.sides
    np.testing.assert_allclose(parts.sigma_data, whole.sigma_data, rtol=1e-9)
    np.testing.assert_allclose(parts.tau2, whole.tau2, rtol=1e-9)


def test_one_resolution_has_no_details() -> None:
    found = measure([IMAGES], [8])
    assert found.tau2 == ()
    assert len(found.sigma_data) == 1


def test_a_constant_grey_set_keeps_a_sigma_data_above_zero() -> None:
    """The preconditioning divides by it."""
    grey = np.full((2, 4, 4, 1), 128, dtype=np.uint8)
    assert min(measure([grey - 1, grey], [2, 4]).sigma_data) > 0


def test_vectors_have_the_moment_of_their_own_values() -> None:
    vectors = np.random.default_rng(1).normal(0.3, 0.05, (7, 1, 1, 5)).astype(np.float16)
    found = measure([vectors[:3], vectors[3:]], [1])
    assert found.tau2 == ()
    expected = np.sqrt((vectors.astype(np.float64) ** 2).mean())
    np.testing.assert_allclose(found.sigma_data, [expected], rtol=1e-6)


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(UserError, match="no pictures"):
        measure([], [4, 8])


@pytest.mark.parametrize(
    ("picture", "sides"),
    [((28, 28), [7, 14, 28]), ((8, 12), [4, 8]), ((28, 28), [28]), ((5, 7), [5])],
)
def test_successive_halvings_that_end_at_the_picture_fit(
    picture: tuple[int, int], sides: list[int]
) -> None:
    check_sides(picture, sides)


@pytest.mark.parametrize(
    ("picture", "sides", "example"),
    [
        ((28, 28), [7, 28], "[14, 28]"),
        ((28, 28), [14], "[14, 28]"),
        ((28, 28), [28, 56], "[14, 28]"),
        ((28, 28), [3, 7, 14, 28], "[14, 28]"),
        ((28, 30), [7, 14, 28], "[14, 28]"),
        ((8, 7), [4, 8], "[8]"),
        ((8, 8), [8, 8], "[4, 8]"),
        ((8, 8), [], "[4, 8]"),
    ],
)
def test_other_sides_are_refused_with_an_example_that_fits(
    picture: tuple[int, int], sides: list[int], example: str
) -> None:
    with pytest.raises(UserError, match="do not fit pictures of") as raised:
        check_sides(picture, sides)
    assert str(raised.value).endswith(example)


def test_pictures_that_the_sides_do_not_fit_are_refused_when_measured() -> None:
    with pytest.raises(UserError, match=r"stages \[3, 6\] do not fit pictures of 8x12"):
        measure([IMAGES], [3, 6])


STATISTICS = DataStatistics(
    (7, 14, 28), (2.4, 1.3, 0.7), (((0.5,), (0.4,), (0.3,)), ((0.1,), (0.08,), (0.03,)))
)


def test_the_resolution_rises_where_the_details_carry_their_part_of_the_noises_power() -> None:
    coarse, middle, fine = stages_for(STATISTICS, sigma_max=80.0, sigma_min=0.01, switch=0.07)
    assert [s.side for s in (coarse, middle, fine)] == [7, 14, 28]
    assert coarse.sigma_high == 80.0
    assert fine.sigma_low == 0.01
    for upper, lower, power in ((coarse, middle, 0.4), (middle, fine, 0.07)):
        assert upper.sigma_low == lower.sigma_high
        assert upper.sigma_low**2 * 0.07 == pytest.approx(power)


@pytest.mark.parametrize(
    ("sigma_max", "sigma_min", "switch"),
    [(2.0, 0.01, 0.07), (80.0, 1.0, 0.07), (80.0, 0.01, 1e-5)],
)
def test_noise_levels_that_do_not_fall_from_stage_to_stage_are_refused(
    sigma_max: float, sigma_min: float, switch: float
) -> None:
    with pytest.raises(UserError, match="do not fall"):
        stages_for(STATISTICS, sigma_max=sigma_max, sigma_min=sigma_min, switch=switch)


def test_details_of_no_power_are_refused_and_not_divided_by() -> None:
    flat_statistics = DataStatistics((4, 8), (1.0, 0.5), (((0.0,), (0.0,), (0.0,)),))
    with pytest.raises(UserError, match="do not fall"):
        stages_for(flat_statistics, sigma_max=80.0, sigma_min=0.01)
