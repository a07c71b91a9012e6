"""The named choices of ``w_t``: how much each noise level counts, and how often it is drawn.

A weighting draws sigma from a density ``p`` over ``log sigma`` and weights the squared error of
``x_hat`` per coefficient; what is minimised is ``integral p(log sigma) w(sigma) |x_hat - x_r|^2``.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from pipeline.chain.schedule import Stage


class Weighting(ABC):
    """A density over noise levels and a weight at each."""

    def range(self, stage: Stage) -> tuple[float, float]:
        """The lowest and the highest noise level that a stage trains on.

        Here a little beyond the stage's own levels, so that neighbouring stages overlap.
        """
        return stage.training_range()

    def draw(self, uniform: Tensor, low: float, high: float, sigma_d: float) -> Tensor:
        """Noise levels from uniforms in (0, 1): here with equal density in log sigma."""
        return (math.log(low) + uniform * math.log(high / low)).exp()

    @abstractmethod
    def weight(self, sigma: Tensor, low: float, high: float, sigma_d: float) -> Tensor:
        """The weight of ``|x_hat - x_r|^2`` per coefficient at each sigma."""

    def stage_scale(self, share: float) -> float:
        """A stage's factor, given its share of the finest picture's coefficients."""
        return 1.0


@dataclass(frozen=True)
class Edm(Weighting):
    """``(sigma^2 + sigma_d^2) / (sigma sigma_d)^2`` under a log-normal density (Karras, 2022).

    The density's centre is EDM's (log 0.6 sigma_d for its sigma_d of 0.5), its spread wider because
    a stage sees only its part of it.
    """

    spread: float = 1.4

    def draw(self, uniform: Tensor, low: float, high: float, sigma_d: float) -> Tensor:
        centre = math.log(0.6 * sigma_d)
        ends = torch.tensor([math.log(low), math.log(high)], dtype=torch.float64)
        ends = (ends - centre) / self.spread
        # A stage far above the centre is mirrored: the lower tail is exact to 1e-300, the upper
        # one's cumulative is 1 to rounding.
        sign = -1.0 if ends.sum() > 0 else 1.0
        cdf = torch.special.log_ndtr(sign * ends).exp()
        within = cdf[0] + uniform.double().cpu() * (cdf[1] - cdf[0])
        z = sign * torch.special.ndtri(within.clamp_min(1e-300))
        sigma: Tensor = (centre + self.spread * z).exp()
        return sigma.clamp(low, high).to(uniform)

    def weight(self, sigma: Tensor, low: float, high: float, sigma_d: float) -> Tensor:
        return (sigma**2 + sigma_d**2) / (sigma * sigma_d) ** 2


@dataclass(frozen=True)
class Elbo(Weighting):
    """``sigma^-2 d log sigma``: the continuous limit of the bound's ``(1/s_t^2 - 1/s_{t-1}^2)/2``.

    Stages count by their number of coefficients and train on their own noise levels alone. So the
    sum of their losses is what layers 1 ... T - 1 of the bound tend to, as T grows, in nats a
    dimension, but for what no network changes: the blind details where the resolution rises.
    """

    def range(self, stage: Stage) -> tuple[float, float]:
        return stage.sigma_low, stage.sigma_high

    def weight(self, sigma: Tensor, low: float, high: float, sigma_d: float) -> Tensor:
        return math.log(high / low) / sigma**2

    def stage_scale(self, share: float) -> float:
        return share


@dataclass(frozen=True)
class MinSnr(Weighting):
    """``min(SNR, gamma)`` (Hang et al., 2023) with ``SNR = sigma_d^2 / sigma^2``."""

    gamma: float = 5.0

    def weight(self, sigma: Tensor, low: float, high: float, sigma_d: float) -> Tensor:
        return (sigma_d**2 / sigma**2).clamp_max(self.gamma) / sigma_d**2


@dataclass(frozen=True)
class Uniform(Weighting):
    """1, in units of the data's variance."""

    def weight(self, sigma: Tensor, low: float, high: float, sigma_d: float) -> Tensor:
        return torch.full_like(sigma, 1 / sigma_d**2)


WEIGHTINGS: dict[str, Weighting] = {
    "edm": Edm(),
    "elbo": Elbo(),
    "min_snr": MinSnr(),
    "uniform": Uniform(),
}

if TYPE_CHECKING:
    WeightingName = str
else:
    WeightingName = Literal[tuple(WEIGHTINGS)]
