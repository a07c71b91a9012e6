"""How far the margin strays from its linearisation around a picture."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.base import Model
from pipeline.boundary.directions import Slope, along, margin_over
from pipeline.boundary.rule import asked, finite


@dataclass(frozen=True)
class Linearity:
    """The deviation ``m(x + r u) - m(x) - r <∇m(x), u>`` of the margin over the rival in x.

    It is 0 of a linear classifier, and ``r²/2 u'Hu`` of a margin with the constant Hessian H. Qin,
    Martens, Gowal, Krishnan, Dvijotham, Fawzi, De, Stanforth and Kohli, "Adversarial robustness
    through local linearization", 2019 (arXiv 1907.02610), take the largest of its sizes in a ball.

    Attributes:
        deviation: float64 ``[N, D, R]``, in logits: of N pictures in D directions at R lengths.
        relative: its size over ``r ||∇m(x)||``, the most that the linear margin changes over that
            length: a figure without a unit, which compares networks. inf without a gradient.
    """

    deviation: Tensor
    relative: Tensor


def local_linearity(
    model: Model,
    slope: Slope,
    x: Tensor,
    label: Tensor,
    rows: Tensor,
    directions: Tensor,
    lengths: Tensor,
    rows_per_call: int,
) -> Linearity:
    """The deviations at all of some lengths in all of some directions.

    Args:
        model: pictures to logits.
        slope: of the model at x.
        x, label, rows: see `pipeline.boundary.directions.slope_at`.
        directions: float32 ``[N, D, C, H, W]``, of length 1.
        lengths: float64 ``[R]``, L2, above 0.
        rows_per_call: pictures in a call.

    Raises:
        UserError: logits that are not finite.
    """
    num, count = directions.shape[:2]
    size = len(lengths)
    t = lengths.double()[None, None, :, None, None, None]
    points = (x.double()[:, None, None] + t * directions.double()[:, :, None]).float()
    each = torch.arange(num).repeat_interleave(count * size)
    logits = finite(asked(model, points.flatten(0, 2), rows_per_call), rows[each]).cpu()
    there = margin_over(logits, label[each], slope.rival[each]).reshape(num, count, size)
    ways = directions.flatten(0, 1)
    fall = along(slope.gradient.repeat_interleave(count, dim=0), ways).reshape(num, count, 1)
    deviation = there - slope.margin[:, None, None] - lengths.double() * fall
    return Linearity(deviation, deviation.abs() / (lengths * slope.steepness[:, None, None]))
