"""From a bound of p_A to a radius.

Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing", ICML 2019,
theorem 1, with the runner-up's share bounded by 1 - p_A. The smoothed classifier
``g(x) = argmax_c P(f(x + sigma eps) = c)`` answers alike at every distance below
``sigma Φ⁻¹(p_A)`` in L2, whatever ``f`` is.
"""

import math

from scipy.special import ndtr, ndtri

# Radii are stored in whole millionths of a pixel's range, rounded down.
_PARTS = 10**6


def radius(p_lower: float, sigma: float) -> float:
    """``sigma Φ⁻¹(p_lower)``, rounded down to a multiple of 1e-6; 0 where p_lower <= 1/2.

    Args:
        p_lower: below the share of the class that was voted for, in [0, 1).
        sigma: of the noise, in units of [0, 1], like the radius.
    """
    if p_lower <= 0.5:
        return 0.0
    return math.floor(sigma * float(ndtri(p_lower)) * _PARTS) / _PARTS


def share_of(r: float, sigma: float) -> float:
    """``Φ(r / sigma)``: the share whose radius is r, not rounded."""
    return float(ndtr(r / sigma))
