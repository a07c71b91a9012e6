"""Resampling around known pixels: layers drawn again and again between two levels.

After each layer the known coefficients are drawn anew from ``q(z_t | x)``. Alone, this replacement
is biased: a layer sees the known pixels in noise, and so the rest follows them too little. Hence
resampling (RePaint: Lugmayr et al., 2022): the level is taken one layer down by the chain's own
transition, which is exact across resolution changes too, and the layer is drawn again. The bias
falls as one over the number of times (docs/mathematics.md has it on Gaussian pictures).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.chain.noise import Purpose
from pipeline.chain.schedule import Schedule
from pipeline.chain.transition import noise_down
from pipeline.sampling.base import Denoiser, SampleKeys, Sampler, denoise_layers, prior
from pipeline.sampling.known import KnownPixels

MOST_REPETITIONS = 1000

_LAYER_BITS = 13  # of a key's layer, which holds 4,096 layers; the repetition takes the bits above


@dataclass(frozen=True)
class RepeatedKeys(SampleKeys):
    """Keys of one repetition of a layer; the first, 0, draws what the plain chain draws.

    Attributes:
        repetition: from 0 on.
    """

    repetition: int

    def normal(self, layer: int, purpose: Purpose, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        return super().normal(self.repetition << _LAYER_BITS | layer, purpose, like, shape)


def walk_around(
    known: KnownPixels,
    denoiser: Denoiser,
    schedule: Schedule,
    sampler: Sampler,
    keys: SampleKeys,
    condition: Tensor | None,
    *,
    resample: int,
    picture_shape: Callable[[int], tuple[int, int, int]],
    tau2_after: Callable[[int], Tensor],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Iterator[Tensor]:
    """All levels of the chain around known pixels, from noise ``z_0`` to picture ``z_T``.

    Args:
        known: of the N pictures.
        denoiser, schedule, sampler, keys, condition, picture_shape, tau2_after, device, dtype: as
            `walk` takes them. The sampler gets no history.
        resample: how often each layer is drawn, from 1 on.

    Yields:
        ``z_0`` first, then the level after the last repetition of each layer, ``[N, C, h, w]``.
    """
    layers = schedule.layers
    like = torch.empty(0, device=device, dtype=dtype)
    z = prior(layers[0], keys, picture_shape(layers[0].stage), like)
    z = known.replace(z, layers[0].sigma_from, 0, keys)
    yield z
    for layer in layers:
        shape = tuple(z.shape[1:])
        for repetition in range(resample):
            again = RepeatedKeys(keys.seeds, keys.indices, repetition)
            if repetition:
                eps = again.normal(layer.index, Purpose.AGAIN, z, shape)
                z = noise_down(z, layer, eps)
            (z,) = denoise_layers(
                denoiser, [layer], sampler, again, condition, z, tau2_after=tau2_after
            )
            z = known.replace(z, layer.sigma_to, layer.index, again)
        yield z
