"""From an attack's float picture to the 8-bit picture that is stored, never outside the ball.

All of it is counted in levels: whole steps of 1/255, the difference between neighbouring 8-bit
values. A change of up to ``eps_levels`` in L∞, or one whose squared length is at most
``eps_levels²`` in L2, is checked in integers, so "inside" has no tolerance.
"""

import math

import numpy as np
from torch import Tensor

from pipeline.attacks.base import Norm
from pipeline.errors import UserError
from pipeline.formats.perturbation_set import LEVELS, in_ball

# float32 pictures times 255 miss a whole level by up to 2e-5.
_SNAP = 1e-3


def whole_levels(eps: float) -> int:
    """The ball's radius in whole levels of 1/255, rounded downwards.

    Args:
        eps: the radius in [0, 1] units (an L2 radius may exceed 1).

    Raises:
        UserError: below one level no 8-bit picture but the original lies in the ball.
    """
    levels = math.floor(eps * LEVELS + 1e-6) if math.isfinite(eps) else 0
    if levels < 1:
        raise UserError(
            f"eps is {eps:g}, less than one level of an 8-bit picture (1/255 ≈ 0.00392); "
            "give a finite eps of at least 0.00393"
        )
    return levels


def to_stored(
    adversarial: Tensor, clean: np.ndarray, norm: Norm, eps_levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Round an attack's result to 8 bits without leaving the ball or the box.

    L∞: each value goes to the nearest level, and the ball's own bounds are whole levels. L2:
    rounding to nearest can lengthen the change by up to half a level a value, so each value is
    first cut towards the clean one, and then raised again by one level, those that lost the most
    first, as long as the change is no longer than the one that the attack found.

    Args:
        adversarial: float32 ``[N, C, H, W]`` in [0, 1].
        clean: uint8 ``[N, H, W, C]``.

    Returns:
        The stored pictures, uint8 ``[N, H, W, C]``, and whether rounding to nearest would have
        left the ball, bool ``[N]``.
    """
    found = np.moveaxis(adversarial.detach().cpu().double().numpy(), 1, -1) * LEVELS
    nearest = np.clip(np.rint(found), 0, LEVELS).astype(np.uint8)
    left_ball = ~in_ball(clean, nearest, norm, eps_levels)
    base = clean.astype(np.int64)
    if norm is Norm.LINF:
        low = np.maximum(base - eps_levels, 0)
        high = np.minimum(base + eps_levels, LEVELS)
        return np.clip(np.rint(found), low, high).astype(np.uint8), left_ball
    delta = (np.clip(found, 0, LEVELS) - base).reshape(len(clean), -1)
    whole = _inside(delta, eps_levels).reshape(clean.shape)
    return (base + whole).astype(np.uint8), left_ball


def _inside(delta: np.ndarray, eps_levels: int) -> np.ndarray:
    """Whole-level changes ``[N, D]`` near ``delta``, no longer than it and than ``eps_levels``."""
    size = np.abs(delta)
    size = np.where(np.abs(size - np.rint(size)) < _SNAP, np.rint(size), size)
    budget = np.minimum(np.floor((size * size).sum(axis=1) + _SNAP), float(eps_levels**2))
    cut = np.floor(size)
    # The attack's own float arithmetic may have left the ball by a rounding error: shrink by one
    # level a value, which is ample.
    outside = (cut * cut).sum(axis=1) > budget
    cut[outside] = np.maximum(cut[outside] - 1, 0)
    lost = size - cut
    order = np.argsort(-lost, axis=1, kind="stable")
    cost = np.where(lost > 0, 2 * cut + 1, np.inf)  # (n+1)² - n²
    spent = np.cumsum(np.take_along_axis(cost, order, axis=1), axis=1)
    affordable = spent <= (budget - (cut * cut).sum(axis=1))[:, None]
    raised = np.zeros_like(cut)
    np.put_along_axis(raised, order, affordable.astype(np.float64), axis=1)
    return np.asarray((np.sign(delta) * (cut + raised)).astype(np.int64))
