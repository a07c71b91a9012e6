"""The smallest change that takes a picture to a hyperplane without leaving the box.

Croce and Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack",
2019 (arXiv 1907.02044), section 3.1.
"""

import torch
from torch import Tensor

from pipeline.attacks.base import Norm, per_row
from pipeline.attacks.geometry.rowwise import row_sum


def to_hyperplane_in_box(missing: Tensor, gradient: Tensor, point: Tensor, norm: Norm) -> Tensor:
    """The smallest r with ``<gradient, r> = missing`` and ``point + r`` in [0, 1].

    Args:
        missing: ``[N]``; below 0 the gain is to be negative.
        gradient: ``[N, C, H, W]``; values whose slope is 0 stay.
        point: ``[N, C, H, W]``, in [0, 1].
        norm: by which r is small.

    Returns:
        ``[N, C, H, W]``; where the box does not reach the hyperplane, the corner that comes nearest
        to it.
    """
    direction = gradient.sign() * per_row(missing.sign())
    # Products with masks, and not `where`: on a CPU that takes three to ten times as long as they
    # do, and with it this function took a tenth of the attack.
    room = torch.maximum(direction * (1 - point), -direction * point)
    # In float64: sums of many pieces, of which the last may be small.
    slope, room_at = gradient.abs().double().flatten(1), room.double().flatten(1)
    # Where there is no room, the rest of what follows is 0 as well.
    slope = slope * (room_at > 0)
    wanted = missing.abs().double()[:, None]
    sizes = _steepest_first if norm is Norm.L1 else _all_at_once
    size = sizes(slope, room_at, wanted, norm)
    return direction * torch.minimum(size, room_at).to(point.dtype).reshape(point.shape)


def _all_at_once(slope: Tensor, room: Tensor, wanted: Tensor, norm: Norm) -> Tensor:
    """Sizes in L∞ and L2, before they are cut to the room, float64 ``[N, D]``.

    Each value moves by ``min(t v, room)``, with v = 1 in L∞ and v = slope in L2. The gain
    ``Σ slope min(t v, room)`` bends down at each t at which a value uses up its room, so Newton's
    method from t = 0 comes to its root from below, and is there when no further value uses up its
    room on the way: some three rounds, where sorting the values by that t, as the source does,
    takes as long as a forward pass of a small network.
    """
    linf = norm is Norm.LINF
    gain_at_end, speed = slope * room, slope if linf else slope * slope
    used_up_at = room if linf else room / slope.clamp_min(1e-300)
    # At t = 0 only what has no room is used up, which gains nothing.
    used_up, left, moving = used_up_at <= 0, wanted, row_sum(speed)[:, None]
    t = torch.zeros_like(wanted)
    while True:
        # Where nothing moves any more, all go to the end; a row that is there stays as it is.
        t = torch.where(moving > 0, left / moving.clamp_min(1e-300), torch.inf).maximum(t)
        then, used_up = used_up, used_up_at <= t
        if torch.equal(then, used_up):
            break
        left = wanted - row_sum(gain_at_end * used_up)[:, None]
        moving = row_sum(speed * ~used_up)[:, None]
    # 0 · ∞ where the slope is 0: there is no room either.
    return t if linf else (t * slope).nan_to_num(nan=0.0, posinf=torch.inf)


def _steepest_first(slope: Tensor, room: Tensor, wanted: Tensor, norm: Norm) -> Tensor:
    """The sizes of the smallest change in L1.

    The steepest value moves as far as it has room, then the next one, and the last by what is still
    missing.
    """
    steepest, order = slope.sort(dim=1, descending=True, stable=True)
    gain = steepest * room.gather(1, order)
    missing = (wanted - (gain.cumsum(dim=1) - gain)).clamp_min(0.0)
    size = missing / steepest.clamp_min(1e-300)  # without a slope there is no direction
    return torch.zeros_like(size).scatter(1, order, size)
