"""A base whose smoothed decision and radius are known exactly: class 1 on one side of a plane."""

from typing import Any

import numpy as np
from torch import Tensor

from pipeline.smoothing.noise import DrawKeys


class LinearBase:
    """Class 1 where ``<w, x> + b > 0``, of two; its distance is the radius."""

    classes = ("below", "above")

    def __init__(self, weight: Tensor, bias: float, rows_per_call: int = 64) -> None:
        self.weight, self.bias, self.rows_per_call = weight, bias, rows_per_call  # [C, H, W]
        channels, height, width = weight.shape
        self.shape = (height, width, channels)
        self.calls = 0

    def record(self) -> dict[str, Any]:
        return {"base": "linear"}

    def distance(self, x: Tensor) -> Tensor:
        """Of each picture from the plane, positive above it, ``[N]`` in float64."""
        margin = (x.double() * self.weight.double()).sum(dim=(1, 2, 3)) + self.bias
        return margin / self.weight.double().norm()

    def answers(self, x: Tensor, keys: DrawKeys) -> np.ndarray:
        assert len(x) == len(keys) == self.rows_per_call
        self.calls += 1
        return (self.distance(x) > 0).numpy().astype(np.int64)
