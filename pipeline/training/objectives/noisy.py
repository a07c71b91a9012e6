"""Copies of each picture under keyed Gaussian noise, which smooth training asks about."""

import math
from dataclasses import dataclass

from torch import Tensor

from pipeline.errors import UserError
from pipeline.training.objectives.base import StepRows


@dataclass(frozen=True)
class NoisyCopies:
    """``x + σ ε_i``, ``ε_i ~ N(0, I)``, for i = 1 … m: what the smoothed classifier is asked about.

    Nothing is cut to [0, 1]: the certificate's noise is not either.

    Attributes:
        sigma: σ in [0, 1] pixel units, above 0.
        num: m, copies of a picture, at least 1.
    """

    sigma: float
    num: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise UserError(
                f"noise_sigma must be a number above 0 (in [0, 1] pixel units), not {self.sigma:g}"
            )
        if self.num < 1:
            raise UserError(f"noise_draws must be at least 1, not {self.num}")

    def noise(self, rows: StepRows) -> Tensor:
        """``σ ε``, float32 ``[N, m, C, H, W]``: the rows' next draws."""
        return self.sigma * rows.draws.normal(self.num, *rows.x.shape[1:])

    def pictures(self, x: Tensor, noise: Tensor) -> Tensor:
        """``x + noise`` as one batch: ``[N, C, H, W]`` and `noise` to ``[N m, C, H, W]``."""
        return (x[:, None] + noise).flatten(0, 1)

    def by_row(self, logits: Tensor) -> Tensor:
        """Logits ``[N m, K]`` of `pictures` as ``[N, m, K]``."""
        rows: Tensor = logits.unflatten(0, (-1, self.num))
        return rows
