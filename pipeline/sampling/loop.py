"""The sampling loop of a stack under its options: through all stages at once, or through one."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pipeline.chain.schedule import build_schedule
from pipeline.sampling.base import Denoiser, SampleKeys, denoise_layers, prior, walk
from pipeline.sampling.guidance import Guided
from pipeline.sampling.known import KnownPixels
from pipeline.sampling.labels import refuse_untrained
from pipeline.sampling.moments import GivenPixels
from pipeline.sampling.options import SamplingOptions
from pipeline.sampling.resampling import walk_around
from pipeline.sampling.samplers import SAMPLERS
from pipeline.stack_spec import StackSpec


class SamplingLoop:
    """A guided denoiser, a schedule and a sampler: what all batches of one sample set share.

    Args:
        denoiser: the stack, or a stand-in that only counts calls.
        spec: the stack's spec.
        options: how to sample; None takes the model's defaults.
        device: where the denoiser computes.

    Raises:
        UserError: options that the model cannot follow.
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
            chosen.rescale,
        )
        self._schedule = build_schedule(spec.stages, chosen.layers)
        self._sampler = SAMPLERS[chosen.sampler].build(spec)

    def levels(self, keys: SampleKeys, conditions: np.ndarray) -> Iterator[Tensor]:
        """All levels ``z_0 ... z_T`` of N samples, each float32 ``[N, C, h, w]``.

        Args:
            keys: of the N samples.
            conditions: of the N samples, as in `sample`.

        Raises:
            UserError: a condition that the model does not know, or that nothing was trained on.
        """
        return walk(
            self._denoiser,
            self._schedule,
            self._sampler,
            keys,
            _condition(self._spec, conditions, self._device),
            picture_shape=self._spec.picture_shape,
            tau2_after=self._spec.tau2_after,
            device=self._device,
        )

    def levels_around(
        self,
        known: KnownPixels,
        keys: SampleKeys,
        conditions: np.ndarray,
        resample: int,
        moment_steps: int,
    ) -> Iterator[Tensor]:
        """All levels of N samples around known pixels.

        Args:
            known: of the N pictures.
            keys, conditions: as `levels` takes them; errors as there.
            resample: as `walk_around` takes it.
            moment_steps: of `GivenPixels`; 0 leaves the denoiser as it is.
        """
        own: Denoiser = self._denoiser
        return walk_around(
            known,
            GivenPixels(own, known, moment_steps) if moment_steps else own,
            self._schedule,
            self._sampler,
            keys,
            _condition(self._spec, conditions, self._device),
            resample=resample,
            picture_shape=self._spec.picture_shape,
            tau2_after=self._spec.tau2_after,
            device=self._device,
        )

    def run_stage(
        self, stage: int, z: Tensor | None, keys: SampleKeys, conditions: np.ndarray
    ) -> Tensor:
        """Runs the layers of one stage; errors as `levels`.

        Args:
            stage: 0 is the coarsest.
            z: the level at which the stage starts, float32 ``[N, C, h, w]``; None draws ``z_0``.
            keys: of the N samples.
            conditions: of the N samples, as in `sample`.

        Returns:
            The level at which the stage ends: the next stage's ``z``, or the picture ``z_T``.
        """
        layers = [layer for layer in self._schedule.layers if layer.stage == stage]
        if z is None:
            like = torch.empty(0, device=self._device)
            z = prior(layers[0], keys, self._spec.picture_shape(stage), like)
        level = z
        for level in denoise_layers(  # noqa: B007
            self._denoiser,
            layers,
            self._sampler,
            keys,
            _condition(self._spec, conditions, self._device),
            z,
            tau2_after=self._spec.tau2_after,
        ):
            pass
        return level


def _condition(
    spec: StackSpec, conditions: np.ndarray, device: torch.device | str
) -> Tensor | None:
    rule = spec.condition.rule
    if rule.column is None:
        return None
    condition = rule.read({rule.column: conditions})
    if condition is None:
        return None
    if rule.column == "label":
        refuse_untrained(conditions, spec.classes, spec.untrained, "the labels")
    return condition.to(device)
