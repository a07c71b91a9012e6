"""The way of a batch up the stack, under its options: all at once, or stage by stage."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pipeline.chain.schedule import build_schedule
from pipeline.sampling.base import Denoiser, Rows, climb, prior, walk
from pipeline.sampling.guidance import Guided
from pipeline.sampling.labels import refuse_untrained
from pipeline.sampling.options import SamplingOptions
from pipeline.sampling.samplers import SAMPLERS
from pipeline.stack_spec import StackSpec


class Climber:
    """A denoiser under its options, which every batch of one set of samples shares.

    Args:
        denoiser: the stack, or whatever stands in for it.
        spec: the stack's.
        options: None for the model's own.
        device: the denoiser's.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        spec: StackSpec,
        options: SamplingOptions | None,
        device: torch.device | str,
    ) -> None:
        chosen = (options or SamplingOptions()).resolve(spec)
        assert chosen.sampler is not None
        assert chosen.layers is not None
        assert chosen.guidance is not None
        self._spec, self._device = spec, device
        self._denoiser = Guided(
            denoiser,
            chosen.guidance,
            chosen.guidance_interval,
            chosen.threshold,
            tuple(len(spec.stages) - 1 - s for s in range(len(spec.stages))),
        )
        self._schedule = build_schedule(spec.stages, chosen.layers)
        self._sampler = SAMPLERS[chosen.sampler].build(spec)

    def levels(self, rows: Rows, labels: np.ndarray) -> Iterator[Tensor]:
        """All levels of the chain, ``z_0`` first."""
        return walk(
            self._denoiser,
            self._schedule,
            self._sampler,
            rows,
            _condition(self._spec, labels, self._device),
            picture_shape=self._spec.picture_shape,
            tau2_after=self._spec.tau2_after,
            device=self._device,
        )

    def through(self, stage: int, z: Tensor | None, rows: Rows, labels: np.ndarray) -> Tensor:
        """The level at which a stage ends, from the one at which it starts; None is the noise."""
        layers = [layer for layer in self._schedule.layers if layer.stage == stage]
        if z is None:
            like = torch.empty(0, device=self._device)
            z = prior(layers[0], rows, self._spec.picture_shape(stage), like)
        level = z
        for level in climb(  # noqa: B007
            self._denoiser,
            layers,
            self._sampler,
            rows,
            _condition(self._spec, labels, self._device),
            z,
            tau2_after=self._spec.tau2_after,
        ):
            pass
        return level


def _condition(spec: StackSpec, labels: np.ndarray, device: torch.device | str) -> Tensor | None:
    condition = spec.condition.rule.read({"label": labels})
    if condition is None:
        return None
    refuse_untrained(labels, spec.classes, spec.untrained, "the labels")
    return condition.to(device)
