"""Bounds of a share from counts: for a number of draws fixed beforehand, and for any number.

*Fixed*: Clopper and Pearson's one-sided bound (1934), as Cohen, Rosenfeld and Kolter (2019) use it.
Looking before the last draw and stopping there makes it wrong.

*Anytime*: after each of any number of draws, ``s`` of ``n`` successes, the mixture likelihood ratio

    M_n(p) = ∫ q^s (1-q)^(n-s) π(dq) / (p^s (1-p)^(n-s))

is, where ``p`` is the true share, a nonnegative martingale that starts at 1 (Robbins, "Statistical
methods related to the law of the iterated logarithm", 1970). By Ville's inequality it ever reaches
``1/α`` with a probability of at most ``α``. So ``{p : M_n(p) < 1/α}`` holds the true share at all
n at once with probability ``1 − α``: one may look after every draw, stop when one likes, and read
the bound for as many radii as one likes. As a function of p, ``M_n`` falls to s/n and rises from
there: the set is an interval, whose lower end bounds p_A, by the final (n, s) alone.
"""

import math
from functools import lru_cache

from scipy.special import betaincinv, betaln

# π is Beta(1, 0.1): near to 1 at all scales alike, where the shares of pictures worth certifying
# lie. docs/smoothing.md has what others cost.
PRIOR_A, PRIOR_B = 1.0, 0.1


def clopper_pearson_lower(successes: int, trials: int, alpha: float) -> float:
    """Below the true share with probability 1 - alpha, for ``trials`` fixed beforehand."""
    if successes == 0:
        return 0.0
    return float(betaincinv(successes, trials - successes + 1, alpha))


@lru_cache(maxsize=1 << 16)
def log_mixture(successes: int, trials: int) -> float:
    """``log ∫ q^s (1-q)^(n-s) π(dq)``."""
    both = betaln(successes + PRIOR_A, trials - successes + PRIOR_B)
    return float(both - betaln(PRIOR_A, PRIOR_B))


def is_outside(p: float, successes: int, trials: int, alpha: float) -> bool:
    """Whether ``M_n(p) >= 1/alpha``: p, in (0, 1], is then outside the anytime interval."""
    failures = trials - successes
    if failures and p >= 1:
        return True
    log_likelihood = successes * math.log(p) + (failures * math.log1p(-p) if failures else 0.0)
    return log_likelihood <= log_mixture(successes, trials) + math.log(alpha)


@lru_cache(maxsize=1 << 16)
def anytime_interval(successes: int, trials: int, alpha: float) -> tuple[float, float]:
    """Holds the true share after all numbers of trials at once, with probability 1 - alpha.

    Its ends by halving, to the last bit of a float64, on the outer side; 0 and 1 where counts say
    nothing. For ``trials`` of 0, (0, 1).
    """
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials

    def end(outer: float) -> float:
        inner = share
        while (middle := (outer + inner) / 2) not in (outer, inner):
            if is_outside(middle, successes, trials, alpha):
                outer = middle
            else:
                inner = middle
        return outer

    return (0.0 if successes == 0 else end(0.0)), (1.0 if successes == trials else end(1.0))
