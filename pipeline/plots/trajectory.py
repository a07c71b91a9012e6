"""A sample's way up the stack: its levels from noise to picture, side by side."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from pipeline.chain.schedule import Schedule, build_schedule
from pipeline.pictures import from_signed
from pipeline.sampling.options import SamplingOptions
from pipeline.sampling.sample import trajectory
from pipeline.stack import Stack

# Noise is drawn with half its deviation from the grey in the middle: 5 % of its pixels then
# reach black or white, where its whole deviation would send 32 % there.
_NOISE_CONTRAST = 2.0


@dataclass(frozen=True)
class Level:
    """One level ``z_t`` of some samples, ready to be seen.

    Attributes:
        t: 0 is noise, the last the picture.
        sigma: its noise level.
        images: uint8 ``[N, h, w, C]`` at the level's own resolution; see `displayed`.
    """

    t: int
    sigma: float
    images: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        height, width = self.images.shape[1:3]
        return int(height), int(width)


@dataclass(frozen=True)
class Trajectory:
    """The chosen levels of N samples, and what each sample was asked to be.

    Attributes:
        names: N class names, empty ones for samples without a condition.
        levels: in the order of sampling.
        num_layers: T, of which `levels` shows some.
    """

    names: tuple[str, ...]
    levels: tuple[Level, ...]
    num_layers: int


def choose_levels(schedule: Schedule, most: int = 12) -> tuple[int, ...]:
    """Levels t to show, rising and as even as may be, ``most`` at the most.

    The noise, the picture and the first level of each resolution are always among them, also where
    they alone are more than ``most``.
    """
    last = schedule.num_layers
    changes = [t for t in range(1, last + 1) if schedule.sides[t] != schedule.sides[t - 1]]
    fixed = sorted({0, *changes, last})
    spans = [b - a for a, b in pairwise(fixed)]
    pieces = [1] * len(spans)
    for _ in range(min(most, last + 1) - len(fixed)):
        # the span whose levels would lie the furthest apart gets one more
        widest = max(range(len(spans)), key=lambda i: spans[i] / pieces[i])
        pieces[widest] += 1
    chosen = [
        start + round(k * span / count)
        for start, span, count in zip(fixed, spans, pieces, strict=False)
        for k in range(count)
    ]
    return (*chosen, last)


def displayed(z: Tensor, sigma: float, factor: int) -> np.ndarray:
    """A level for the eye: ``z / sqrt(factor^2 + 4 sigma^2)``, to uint8 ``[N, h, w, C]``.

    The orthonormal low-pass multiplies amplitudes by ``factor``, and the noise comes on top: the
    clean picture is shown as it is, and pure noise around the middle grey.

    Args:
        z: ``[N, C, h, w]``.
        sigma: its noise level.
        factor: how many times its sides are shorter than the picture's.
    """
    return from_signed(z / float(np.hypot(factor, _NOISE_CONTRAST * sigma)))


@torch.inference_mode()
def record_trajectory(
    stack: Stack,
    seeds: np.ndarray,
    indices: np.ndarray,
    labels: np.ndarray,
    options: SamplingOptions | None = None,
    *,
    most: int = 12,
) -> Trajectory:
    """Draws samples and keeps what `choose_levels` says; arguments as `sample`."""
    resolved = (options or SamplingOptions()).resolve(stack.spec)
    assert resolved.layers is not None
    schedule = build_schedule(stack.spec.stages, resolved.layers)
    chosen = choose_levels(schedule, most)
    side = schedule.sides[-1]
    levels = [
        Level(t, schedule.sigmas[t], displayed(z, schedule.sigmas[t], side // schedule.sides[t]))
        for t, z in enumerate(trajectory(stack, seeds, indices, labels, resolved))
        if t in chosen
    ]
    names = tuple(
        stack.classes[label] if 0 <= label < len(stack.classes) else "" for label in labels
    )
    return Trajectory(names, tuple(levels), schedule.num_layers)


def sigma_text(sigma: float) -> str:
    """Two digits that count, and no exponent: 80, 4.2, 0.031, 0."""
    if sigma >= 10 or sigma == 0:
        return f"{sigma:.0f}"
    return f"{sigma:.1f}" if sigma >= 1 else f"{float(f'{sigma:.2g}')}"
