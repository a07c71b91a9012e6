"""Bounds of a share: against scipy, and their promise to the last digit by summing over counts."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, binomtest

from pipeline.smoothing.confidence import (
    anytime_interval,
    clopper_pearson_lower,
    is_outside,
    log_mixture,
)


@pytest.mark.parametrize(("n_a", "n"), [(0, 10), (3, 10), (10, 10), (99_900, 100_000)])
def test_the_fixed_bound_is_clopper_and_pearsons(n_a, n):
    interval = binomtest(n_a, n).proportion_ci(0.998, method="exact")
    assert clopper_pearson_lower(n_a, n, 0.001) == pytest.approx(interval.low, rel=1e-9)


@pytest.mark.parametrize(("n_a", "n"), [(0, 3), (7, 9), (20, 20), (480, 500)])
def test_the_mixture_is_its_integral(n_a, n):
    # π's density is 0.1 (1 - q)^-0.9, so with q = 1 - u^10 π(dq) = du
    value, _ = quad(lambda u: (1 - u**10) ** n_a * u ** (10 * (n - n_a)), 0, 1, epsabs=0)
    assert log_mixture(n_a, n) == pytest.approx(math.log(value), abs=1e-6)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.999])
def test_the_wealth_is_a_martingale_where_the_share_is_true(p):
    for n in (1, 16, 400):
        n_a = np.arange(n + 1)
        likelihood = n_a * math.log(p) + (n - n_a) * math.log1p(-p)
        log_wealth = np.array([log_mixture(int(s), n) for s in n_a]) - likelihood
        mean = np.exp(binom.logpmf(n_a, n, p) + log_wealth).sum()
        assert mean == pytest.approx(1, rel=1e-8)


@pytest.mark.parametrize(("n_a", "n"), [(5, 5), (90, 100), (99_990, 100_000), (100_000, 100_000)])
def test_the_interval_ends_where_the_wealth_is_one_over_alpha(n_a, n):
    low, high = anytime_interval(n_a, n, 0.001)
    assert low < n_a / n <= high
    assert is_outside(low, n_a, n, 0.001)
    assert not is_outside(low + 1e-9, n_a, n, 0.001)
    if n_a < n:
        assert is_outside(high, n_a, n, 0.001)
        assert not is_outside(high - 1e-9, n_a, n, 0.001)
    else:
        # all agree: M = p^-n B(n + 1, 0.1) / B(1, 0.1)
        assert low == pytest.approx(math.exp((log_mixture(n, n) + math.log(0.001)) / n), rel=1e-12)
    assert low < clopper_pearson_lower(n_a, n, 0.001)


def test_counts_that_say_nothing_bound_nothing():
    assert anytime_interval(0, 0, 0.001) == (0.0, 1.0)
    assert anytime_interval(0, 50, 0.001)[0] == 0.0
    assert 0 < anytime_interval(0, 50, 0.001)[1] < 0.5


def chance_ever_outside(p: float, n: int, alpha: float, lower: bool) -> float:
    """Of leaving the anytime interval on one side at any of n draws, by all paths' counts."""
    alive, left = np.array([1.0]), 0.0
    for drawn in range(1, n + 1):
        alive = np.convolve(alive, [1 - p, p])
        n_a = np.arange(drawn + 1)
        likelihood = n_a * math.log(p) + (drawn - n_a) * math.log1p(-p)
        wealth = np.array([log_mixture(s, drawn) for s in n_a.tolist()]) - likelihood
        out = wealth >= -math.log(alpha)
        out &= (n_a > p * drawn) if lower else (n_a < p * drawn)
        left += alive[out].sum()
        alive[out] = 0.0
    return left


@pytest.mark.parametrize("p", [0.5, 0.84, 0.98])
def test_a_look_after_every_draw_errs_on_both_sides_together_less_often_than_alpha(p):
    alpha = 0.05
    low, high = (chance_ever_outside(p, 400, alpha, side) for side in (True, False))
    assert low + high <= alpha
    assert low > alpha / 50  # not by saying nothing
