"""The inner maximisation of adversarial training: worse pictures for the weights of the moment.

`pipeline.attacks` has the attacks that judge a finished classifier. They ask about pictures of
whole levels, drop rows that are broken and keep the best iterate; training wants none of that, but
the last iterate of a few steps for every row, at the least cost.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.pictures import LEVELS
from pipeline.training.objectives.base import StepRows


def grown(step: int, warmup_steps: int) -> float:
    """The part of its full size that a ball has at an optimiser step, from 0; it grows evenly."""
    return min(1.0, (step + 1) / max(1, warmup_steps))


def check_step_size(step_size: float, unit: str) -> None:
    """UserError for a step that is none; ``unit`` is the key of the radius that it is a part of."""
    if not 0 < step_size <= 2:
        raise UserError(
            f"attack_step_size must be above 0 and at most 2 (in units of {unit}), not "
            f"{step_size:g}"
        )


@dataclass(frozen=True)
class InnerAttack:
    """Projected gradient ascent in L∞ from a random point.

    Madry, Makelov, Schmidt, Tsipras and Vladu, "Towards deep learning models resistant to
    adversarial attacks", 2017 (arXiv 1706.06083). With one step it is the fast variant of Wong,
    Rice and Kolter, "Fast is better than free: revisiting adversarial training", 2020 (arXiv
    2001.03994).

    Attributes:
        levels: the radius ε, in levels of 1/255, at least 1.
        steps: gradient steps, at least 1.
        step_size: α, in units of ε; the authors of the fast variant take 1.25.
        warmup_steps: optimiser steps over which ε grows evenly from nothing to its full size.
    """

    levels: int
    steps: int = 1
    step_size: float = 1.25
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.levels < 1 or self.steps < 1 or self.warmup_steps < 0:
            raise ValueError(f"{self} has no ball or no steps")
        check_step_size(self.step_size, "eps")

    def radius(self, step: int) -> float:
        """ε of optimiser step ``step`` (from 0), in [0, 1] units."""
        return grown(step, self.warmup_steps) * self.levels / LEVELS

    def __call__(
        self, network: nn.Module, loss: Callable[[Tensor], Tensor], rows: StepRows
    ) -> Tensor:
        """Pictures of the ball and the box whose loss is higher, float32 ``[N, C, H, W]``.

        Args:
            network: asked about N pictures at a time; only gradients by the pictures are taken.
            loss: of logits ``[N, K]``, summed over the rows.
        """
        eps = self.radius(rows.step)
        x = rows.x
        low, high = (x - eps).clamp_min(0.0), (x + eps).clamp_max(1.0)
        point = x + eps * (2 * rows.draws.uniform(*x.shape[1:]) - 1)
        point = torch.minimum(torch.maximum(point, low), high)
        for _ in range(self.steps):
            with torch.enable_grad():
                probe = point.requires_grad_(True)
                (gradient,) = torch.autograd.grad(loss(network(probe)), probe)
            moved = point.detach() + self.step_size * eps * gradient.sign()
            point = torch.minimum(torch.maximum(moved, low), high)
        return point
