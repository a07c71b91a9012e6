"""Exact confidence intervals for shares."""

import numpy as np


def clopper_pearson(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a binomial probability (Clopper and Pearson, 1934).

    Args:
        successes, trials: ``0 <= successes <= trials``, ``trials >= 1``.
        level: how often the interval holds the true value, at least.

    Returns:
        Its lower and upper end, in [0, 1].
    """
    from scipy.stats import binomtest  # takes a second to import, in each worker too

    interval = binomtest(successes, trials).proportion_ci(confidence_level=level, method="exact")
    return float(interval.low), float(interval.high)


def clopper_pearson_band(
    successes: np.ndarray, trials: int, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of `clopper_pearson` for many counts of so many trials, float64 as ``successes``."""
    from scipy.special import betaincinv

    outside, inner = (1 - level) / 2, np.maximum(successes, 1)
    low = np.where(successes > 0, betaincinv(inner, trials - inner + 1, outside), 0.0)
    inner = np.minimum(successes, trials - 1)
    high = betaincinv(inner + 1, trials - inner, 1 - outside)
    return low, np.where(successes < trials, high, 1.0)
