"""The loop over layers that all samplers share; a sampler is one method: `Sampler.step`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.chain.haar import NUM_BANDS
from pipeline.chain.noise import Purpose, keyed_normal
from pipeline.chain.schedule import Layer, Schedule
from pipeline.chain.transition import raise_resolution
from pipeline.stack_spec import StackSpec


class Denoiser(Protocol):
    """``x_hat(z, sigma, c)`` of a stage: a `Stack`, a guided one, or a test's closed form."""

    def __call__(
        self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None
    ) -> Tensor: ...


@dataclass(frozen=True)
class SampleKeys:
    """The keys of the N samples of a batch.

    Attributes:
        seeds: int64 ``[N]``.
        indices: int64 ``[N]``, the samples' indices under their seeds.
    """

    seeds: np.ndarray
    indices: np.ndarray

    def normal(self, layer: int, purpose: Purpose, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Keyed standard normal draws ``[N, *shape]``, with the type and place of ``like``."""
        return keyed_normal(self.seeds, self.indices, layer, purpose, shape).to(like)


@dataclass(frozen=True)
class History:
    """What a multistep sampler remembers of the layer before, within a stage.

    Attributes:
        sigma: the noise level at which that layer started.
        x_hat: the denoiser's estimate there, ``[N, C, h, w]``.
    """

    sigma: float
    x_hat: Tensor


class Sampler(ABC):
    """One layer up. Samplers hold no state: what they remember travels in `History`."""

    @abstractmethod
    def step(
        self,
        z: Tensor,
        layer: Layer,
        denoise: Callable[[Tensor, float], Tensor],
        keys: SampleKeys,
        history: History | None,
    ) -> tuple[Tensor, History | None]:
        """From ``z_{t-1}`` to ``z_t``, or to its low band where the resolution changes.

        Args:
            z: ``z_{t-1}``, ``[N, C, h, w]`` at ``layer.sigma_from``.
            layer: layer t.
            denoise: ``x_hat(z, sigma)`` of the layer's stage, with the condition bound.
            keys: of the N samples, for samplers that draw noise.
            history: of the layer before; None at the start of a stage.

        Returns:
            ``z_t`` or its low band, of the shape of ``z``, and the history for the next layer.
        """


@dataclass(frozen=True)
class SamplerEntry:
    """An entry of `SAMPLERS`: what a config calls a sampler, and how a stack gets it.

    Attributes:
        name: what configs and requests call it.
        build: from a stack's spec to the sampler for it.
        without_errors: the sampler that draws in its place where a stack has no error curves; None
            for one that needs none.
        multistep: whether it goes on from the layer before, by `History`.
    """

    name: str
    build: Callable[[StackSpec], Sampler]
    without_errors: str | None = None
    multistep: bool = False


def prior(layer: Layer, keys: SampleKeys, shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """``z_0 ~ N(0, sigma_0^2 I)`` of ``(C, h, w)``, before the chain's first layer."""
    return layer.sigma_from * keys.normal(0, Purpose.PRIOR, like, shape)


def denoise_layers(
    denoiser: Denoiser,
    layers: Sequence[Layer],
    sampler: Sampler,
    keys: SampleKeys,
    condition: Tensor | None,
    z: Tensor,
    *,
    tau2_after: Callable[[int], Tensor],
) -> Iterator[Tensor]:
    """Runs some layers from ``z`` on, without a history at first.

    At a resolution change every sampler draws the detail bands and forgets its history. So a chain
    that is cut there, and goes on elsewhere from the level it reached, has the same bits.

    Args:
        denoiser: ``x_hat(z, sigma, c)`` of every stage.
        layers: consecutive ones, the first of which starts at ``z``.
        sampler: takes each layer's step.
        keys: of the N samples.
        condition: see `Condition`; None is null for all rows.
        z: the level before the first layer, ``[N, C, h, w]``.
        tau2_after: maps a stage to the variance ``[3, C]`` of the detail bands where it ends.

    Yields:
        The level after each layer, ``[N, C, h, w]``.
    """
    history: History | None = None
    for layer in layers:

        def denoise(z: Tensor, sigma: float, stage: int = layer.stage) -> Tensor:
            return denoiser(stage, z, torch.full((len(z),), sigma).to(z), condition)

        z, history = sampler.step(z, layer, denoise, keys, history)
        if layer.changes_resolution:
            eps = keys.normal(layer.index, Purpose.DETAIL, z, (NUM_BANDS, *z.shape[1:]))
            z = raise_resolution(z, layer, tau2_after(layer.stage), eps)
            history = None
        yield z


def walk(
    denoiser: Denoiser,
    schedule: Schedule,
    sampler: Sampler,
    keys: SampleKeys,
    condition: Tensor | None,
    *,
    picture_shape: Callable[[int], tuple[int, int, int]],
    tau2_after: Callable[[int], Tensor],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Iterator[Tensor]:
    """All levels of the chain, from noise ``z_0`` to picture ``z_T``: `prior`, `denoise_layers`.

    Args:
        denoiser, sampler, keys, condition, tau2_after: see `denoise_layers`.
        schedule: the chain's levels.
        picture_shape: maps a stage to the shape ``(C, h, w)`` of its pictures.
        device, dtype: of the levels.

    Yields:
        ``z_0`` first, then the level after each layer, ``[N, C, h, w]``.
    """
    layers = schedule.layers
    like = torch.empty(0, device=device, dtype=dtype)
    z = prior(layers[0], keys, picture_shape(layers[0].stage), like)
    yield z
    yield from denoise_layers(denoiser, layers, sampler, keys, condition, z, tau2_after=tau2_after)
