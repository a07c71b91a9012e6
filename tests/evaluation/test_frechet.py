"""The Fréchet distance against its closed form, and its refusals."""

import numpy as np
import pytest
import scipy.linalg

from pipeline.errors import UserError
from pipeline.evaluation.frechet import frechet_distance


def closed_form(a: np.ndarray, b: np.ndarray) -> float:
    """By scipy's matrix square root, where torchmetrics goes by eigenvalues."""
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return float(shift + np.trace(cov_a + cov_b - 2 * root))


def test_it_equals_the_closed_form_of_two_correlated_gaussian_samples() -> None:
    generator = np.random.default_rng(0)
    mix = generator.normal(size=(6, 6))
    a = generator.normal(size=(500, 6)) @ mix
    b = generator.normal(size=(500, 6)) * 1.5 + 0.3
    assert frechet_distance(a, b) == pytest.approx(closed_form(a, b), rel=1e-9)


def test_a_shift_alone_costs_its_squared_length() -> None:
    a = np.random.default_rng(1).normal(size=(200, 4))
    assert frechet_distance(a, a + np.array([3.0, 4.0, 0.0, 0.0])) == pytest.approx(25.0, rel=1e-6)


@pytest.mark.parametrize("num", [20, 300])
def test_equal_sets_lie_at_zero_and_never_below_it(num: int) -> None:
    """With fewer rows than features the covariances are singular, and rounding is at its worst."""
    for seed in range(4):
        a = np.random.default_rng(seed).normal(size=(num, 64)) * 30 + 7
        assert frechet_distance(a, a[::-1].copy()) == 0
        assert frechet_distance(a, a + 0.1) == pytest.approx(0.64, abs=0.01)
    assert frechet_distance(np.ones((3, 2)), np.ones((3, 2))) == 0


def test_different_counts_are_refused() -> None:
    a = np.zeros((10, 2))
    with pytest.raises(UserError, match=r"10 and 9 rows.*same count"):
        frechet_distance(a, a[:9])


def test_a_single_row_is_refused() -> None:
    with pytest.raises(UserError, match="two rows"):
        frechet_distance(np.zeros((1, 2)), np.zeros((1, 2)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_a_user_error(value: float) -> None:
    sound = np.random.default_rng(0).normal(size=(20, 64))
    broken = sound.copy()
    broken[[3, 5], 1] = value
    for pair in ((sound, broken), (broken, sound)):
        with pytest.raises(UserError, match="of 2 of 20 pictures are not finite"):
            frechet_distance(*pair)
