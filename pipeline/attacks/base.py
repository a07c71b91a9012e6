"""What the attacks share: the gradient by the picture, and the ball around it."""

from collections.abc import Callable
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional as F

Model = Callable[[Tensor], Tensor]


class Norm(StrEnum):
    """How a perturbation is measured, in [0, 1] units of the pixel range."""

    LINF = "linf"  # the largest change of any value
    L2 = "l2"  # the Euclidean length of the change


def input_gradient(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """``∇_x ℓ(f(x), y)``, ℓ the cross-entropy in nats, for each row on its own.

    The losses are summed, not averaged, so a row's gradient does not depend on the batch it is in.
    Only the gradient by ``x`` is computed: parameters receive none.

    Args:
        x: float32 ``[N, C, H, W]``; y: int64 ``[N]``.

    Returns:
        float32 ``[N, C, H, W]``.
    """
    with torch.enable_grad():
        probe = x.detach().requires_grad_(True)
        loss = F.cross_entropy(model(probe), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, probe)
    return gradient


def row_length(delta: Tensor) -> Tensor:
    """The Euclidean length of each row of ``[N, C, H, W]``, shaped ``[N, 1, 1, 1]``."""
    length: Tensor = torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)
    return length


def project(adversarial: Tensor, x: Tensor, *, eps: float, norm: Norm) -> Tensor:
    """The nearest point of the ball of radius ``eps`` around ``x``, then clipped to [0, 1].

    Clipping moves each value towards ``x``, which lies in the box, so it never leaves the ball.
    """
    delta = adversarial - x
    if norm is Norm.LINF:
        delta = delta.clamp(-eps, eps)
    else:
        delta = delta * (eps / row_length(delta).clamp_min(1e-30)).clamp_max(1.0)
    return (x + delta).clamp(0.0, 1.0)


def check_inputs(x: Tensor, y: Tensor, *, eps: float | None, steps: int = 1) -> None:
    """Refuse what an attack cannot mean (ValueError: a caller's defect, not a user's mistake)."""
    if x.dtype != torch.float32 or x.ndim != 4:
        raise ValueError(f"x must be float32 [N, C, H, W], not {x.dtype} {list(x.shape)}")
    if y.shape != x.shape[:1] or y.dtype != torch.int64:
        raise ValueError(f"y must be int64 [{x.shape[0]}], not {y.dtype} {list(y.shape)}")
    if x.numel() and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError("x must lie in [0, 1]")
    if eps is not None and not eps >= 0:
        raise ValueError(f"eps must be at least 0, not {eps}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
