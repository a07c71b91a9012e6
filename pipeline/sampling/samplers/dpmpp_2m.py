"""DPM-Solver++(2M) (Lu et al., 2022): a second-order multistep method, one call a layer."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pipeline.chain.schedule import Layer
from pipeline.sampling.base import History, SampleKeys, Sampler, SamplerEntry


@dataclass(frozen=True)
class DpmPp2M(Sampler):
    """Exponential integrator in ``lambda = -log sigma``, with x_hat extrapolated linearly."""

    def step(
        self,
        z: Tensor,
        layer: Layer,
        denoise: Callable[[Tensor, float], Tensor],
        keys: SampleKeys,
        history: History | None,
    ) -> tuple[Tensor, History | None]:
        x_hat = denoise(z, layer.sigma_from)
        remember = History(layer.sigma_from, x_hat)
        if layer.sigma_to == 0:
            return x_hat, remember
        target = x_hat
        if history is not None:
            h = math.log(layer.sigma_from / layer.sigma_to)
            h_before = math.log(history.sigma / layer.sigma_from)
            target = x_hat + (h / (2 * h_before)) * (x_hat - history.x_hat)
        return target + (layer.sigma_to / layer.sigma_from) * (z - target), remember


DPMPP_2M = SamplerEntry("dpmpp_2m", lambda _: DpmPp2M(), multistep=True)
