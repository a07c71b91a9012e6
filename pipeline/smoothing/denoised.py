"""The expected clean picture of a picture with Gaussian noise of any level, in one step.

Salman, Sun, Yang, Kapoor and Kolter, "Denoised smoothing", 2020 (arXiv 2003.01908), with a stack as
the denoiser, as Carlini and others, "(Certified!!) adversarial robustness for free!", 2022 (arXiv
2206.10550). They search the time step of a discrete chain whose noise comes nearest; a stack takes
the level itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.chain.haar import details, low_pass, merge
from pipeline.chain.schedule import Stage
from pipeline.errors import UserError
from pipeline.smoothing.base import Logits, highest
from pipeline.smoothing.noise import DrawKeys

SIGNED = 2.0
"""A stack sees [-1, 1]: its noise level is so many times that of a picture in [0, 1]."""


class StageDenoiser(Protocol):
    """``x_hat(z, sigma, c)`` of a stage, as of `pipeline.sampling.base.Denoiser`."""

    def __call__(
        self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None
    ) -> Tensor: ...


@dataclass(frozen=True)
class StagedDenoiser:
    """A denoiser with what is known of its stages: all that smoothing needs of a stack.

    Attributes:
        denoiser: see `StageDenoiser`.
        stages: coarsest first; the last has the picture's own resolution.
        tau2_after: maps a stage to the data's variance ``[3, C]`` in the detail bands where it
            ends.
    """

    denoiser: StageDenoiser
    stages: Sequence[Stage]
    tau2_after: Callable[[int], Tensor]

    def stage_at(self, level: float) -> int:
        """The stage that denoises a level of the stack's own units; the finer one at a switch."""
        return max(
            number
            for number, stage in enumerate(self.stages)
            if level <= stage.sigma_high or number == 0
        )

    def stage_of(self, sigma: float) -> int:
        """The stage that denoises noise of ``sigma`` in [0, 1] units.

        Raises:
            UserError: no stage does.
        """
        low, high = self.stages[-1].sigma_low / SIGNED, self.stages[0].sigma_high / SIGNED
        if not low <= sigma <= high:
            raise UserError(
                f"sigma {sigma:g} is outside what the stack denoises, {low:g} to {high:g} in "
                "[0, 1] units; choose one within, or train a stack with another sigma_min or "
                "sigma_max"
            )
        return self.stage_at(SIGNED * sigma)

    def lowered(self, z: Tensor, stage: int, at: int = -1) -> Tensor:
        """``z`` of the stage ``at`` (the last) low-passed to another stage's resolution."""
        for _ in range(at % len(self.stages) - stage):
            z = low_pass(z)
        return z

    def x_hat(self, z: Tensor, level: float, condition: Tensor | None = None) -> Tensor:
        """``E[x | z]`` of ``z ~ N(x, level^2)`` at the picture's resolution, in [-1, 1] units.

        Above a switch of resolution the stage of the level sees ``L z``, whose noise is as white
        and as strong, since ``L`` is orthonormal. What it gives is brought back by ``L^T``, with
        each detail band as the stack's own decoder has it: ``N(0, tau^2)`` whatever the low band
        is, so ``E[H x | z] = tau^2 / (tau^2 + level^2) H z``.

        Args:
            z: ``[N, C, H, W]``.
            level: in the stack's units.
            condition: see `pipeline.conditions.base.Condition`; None is null for all rows.
        """
        stage, last = self.stage_at(level), len(self.stages) - 1
        pyramid = [z]
        for _ in range(last - stage):
            pyramid.append(low_pass(pyramid[-1]))
        low = pyramid.pop()
        sigma = torch.full((len(low),), level, dtype=low.dtype, device=low.device)
        x_hat = self.denoiser(stage, low, sigma, condition)
        for number in range(stage, last):
            tau2 = self.tau2_after(number).to(x_hat)[None, :, :, None, None]
            x_hat = merge(x_hat, tau2 / (tau2 + level**2) * details(pyramid.pop()))
        return x_hat


@dataclass(frozen=True)
class Denoised:
    """A noisy picture in [0, 1] units to its expected clean one, under the null condition.

    No label can reach the denoiser: a call takes the picture alone.

    Attributes:
        staged: the denoiser.
        sigma: the noise level of the pictures in [0, 1] units, which the denoiser is told exactly.
    """

    staged: StagedDenoiser
    sigma: float

    def __call__(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same shape, in [0, 1]; differentiable by ``x``."""
        z = SIGNED * x - 1
        x_hat = self.staged.x_hat(z, SIGNED * self.sigma)
        return ((x_hat + 1) / SIGNED).clamp(0, 1)


class OfDenoised:
    """A classifier behind a denoiser: the class of the highest logit of the denoised picture.

    Args:
        denoised: the denoiser at the certificate's own noise level.
        classifier: float32 ``[N, C, H, W]`` in [0, 1] to logits ``[N, K]``.
        identity: the denoiser's part of the record.
        rows_per_call: of both.
        device: where they compute.

    Raises:
        UserError: the stack has no stage for this noise.
    """

    def __init__(
        self,
        denoised: Denoised,
        classifier: Logits,
        *,
        identity: dict[str, Any],
        rows_per_call: int,
        device: torch.device | str = "cpu",
    ) -> None:
        staged = denoised.staged
        stage = staged.stages[staged.stage_of(denoised.sigma)]
        self._denoised, self.classifier = denoised, classifier
        self._identity = {**identity, "side": stage.side, "denoiser_passes": 1}
        self._device = torch.device(device)
        self.classes, self.shape = classifier.classes, classifier.shape
        self.rows_per_call = rows_per_call

    def record(self) -> dict[str, Any]:
        """Who denoises and who classifies; ``side`` is the resolution that is denoised at."""
        return {
            "base": "denoised",
            "classifier_sha256": self.classifier.sha256,
            "classifier": dict(self.classifier.origin),
            "rows_per_call": self.rows_per_call,
            **self._identity,
        }

    def answers(self, x: Tensor, keys: DrawKeys) -> np.ndarray:
        """See `SmoothingBase`; the keys are not used, since nothing is drawn."""
        return highest(self.logits(x), self.classes)

    def logits(self, x: Tensor) -> Tensor:
        """The logits ``[N, K]`` that the votes are the highest of, with a gradient by ``x``."""
        return self.classifier(self._denoised(x.to(self._device)))
