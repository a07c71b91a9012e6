"""Heun's method on the probability flow, second order (algorithm 1 of Karras et al., 2022)."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pipeline.chain.schedule import Layer
from pipeline.sampling.base import History, SampleKeys, Sampler, SamplerEntry


@dataclass(frozen=True)
class Heun(Sampler):
    """Two calls of the network a layer; one in the last, where sigma reaches 0."""

    def step(
        self,
        z: Tensor,
        layer: Layer,
        denoise: Callable[[Tensor, float], Tensor],
        keys: SampleKeys,
        history: History | None,
    ) -> tuple[Tensor, History | None]:
        slope = (z - denoise(z, layer.sigma_from)) / layer.sigma_from
        delta = layer.sigma_to - layer.sigma_from
        euler = z + delta * slope
        if layer.sigma_to == 0:
            return euler, None
        slope_end = (euler - denoise(euler, layer.sigma_to)) / layer.sigma_to
        return z + delta * (slope + slope_end) / 2, None


HEUN = SamplerEntry("heun", lambda _: Heun())
