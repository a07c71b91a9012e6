"""DDIM (Song et al., 2020): Euler's method on the probability flow, first order."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pipeline.chain.schedule import Layer
from pipeline.sampling.base import History, SampleKeys, Sampler, SamplerEntry


@dataclass(frozen=True)
class Ddim(Sampler):
    """``z_t = x_hat + (sigma_t / sigma_{t-1}) (z_{t-1} - x_hat)``."""

    def step(
        self,
        z: Tensor,
        layer: Layer,
        denoise: Callable[[Tensor, float], Tensor],
        keys: SampleKeys,
        history: History | None,
    ) -> tuple[Tensor, History | None]:
        x_hat = denoise(z, layer.sigma_from)
        return x_hat + (layer.sigma_to / layer.sigma_from) * (z - x_hat), None


DDIM = SamplerEntry("ddim", lambda _: Ddim())
