"""A denoiser that would tell the label, were it ever told one, and a classifier that reads it."""

from typing import Any

import torch
from torch import Tensor


class Betrayer:
    """Paints the label it is conditioned on, ``null`` without one, and remembers what it was told.

    Attributes:
        conditions: of each call.
        told: the stage, the side and the noise level of each call.
    """

    def __init__(self, null: float) -> None:
        self.null = null
        self.conditions: list[Tensor | None] = []
        self.told: list[tuple[int, int, Tensor]] = []

    def __call__(self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        self.conditions.append(condition)
        self.told.append((stage, z.shape[-1], sigma))
        if condition is None:
            return torch.full_like(z, self.null)
        return condition.to(z)[:, None, None, None].expand_as(z)


class ByBrightness:
    """Two classes, by whether a picture's mean is above a value."""

    classes, shape, sha256, rows_per_call = ("dark", "light"), (4, 4, 1), "b" * 64, 8
    training_layers: tuple[str, ...] = ()

    def __init__(self, above: float) -> None:
        self.above = above
        self.origin: dict[str, Any] = {"kind": "test"}

    def __call__(self, x: Tensor) -> Tensor:
        light = (x.mean(dim=(1, 2, 3)) > self.above).to(x)
        return torch.stack((1 - light, light), dim=1)
