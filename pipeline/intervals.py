"""Exact confidence intervals for shares."""

from scipy.stats import binomtest


def clopper_pearson(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a binomial probability (Clopper and Pearson, 1934).

    Args:
        successes, trials: ``0 <= successes <= trials``, ``trials >= 1``.
        level: how often the interval holds the true value, at least.

    Returns:
        Its lower and upper end, in [0, 1].
    """
    interval = binomtest(successes, trials).proportion_ci(confidence_level=level, method="exact")
    return float(interval.low), float(interval.high)
