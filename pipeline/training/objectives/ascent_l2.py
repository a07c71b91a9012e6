"""Gradient ascent in an L2 ball, for objectives whose worst picture is an L2 one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.training.objectives.inner import check_step_size, grown


@dataclass(frozen=True)
class AscentL2:
    """Projected ascent in L2 along the gradient of unit length, from the centre of the ball.

    Attributes:
        eps: the radius ε, in [0, 1] pixel units, above 0.
        steps: gradient steps, at least 1.
        step_size: the length of one, in units of ε.
        warmup_steps: optimiser steps over which ε grows evenly from nothing to its full size.
    """

    eps: float
    steps: int = 1
    step_size: float = 1.25
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise UserError(f"eps_l2 must be above 0 (in [0, 1] pixel units), not {self.eps:g}")
        if self.steps < 1 or self.warmup_steps < 0:
            raise ValueError(f"{self} has no steps")
        check_step_size(self.step_size, "eps_l2")

    def radius(self, step: int) -> float:
        """ε of optimiser step ``step`` (from 0)."""
        return self.eps * grown(step, self.warmup_steps)

    def __call__(
        self, loss: Callable[[Tensor], Tensor], centre: Tensor, step: int, *, boxed: bool
    ) -> Tensor:
        """Points of the balls around the centres whose loss is higher, float32 ``[N, C, H, W]``.

        Args:
            loss: of points ``[N, C, H, W]``, summed over them; only its gradient by the points is
                taken.
            centre: float32 ``[N, C, H, W]``.
            step: the optimiser step, from 0.
            boxed: whether the points must lie in [0, 1], as the centres then do.
        """
        eps = self.radius(step)
        point = centre
        for _ in range(self.steps):
            with torch.enable_grad():
                probe = point.detach().requires_grad_(True)
                (gradient,) = torch.autograd.grad(loss(probe), probe)
            change = point + self.step_size * eps * gradient / _length(gradient) - centre
            change = change * (eps / _length(change)).clamp_max(1.0)
            point = centre + change
            if boxed:
                point = point.clamp(0.0, 1.0)
        return point.detach()


def _length(rows: Tensor) -> Tensor:
    """``‖·‖₂`` of each row ``[N, 1, 1, 1]``, never 0, so that a row without a gradient stays."""
    length: Tensor = rows.flatten(1).norm(dim=1)
    return length.clamp_min(1e-12)[:, None, None, None]
