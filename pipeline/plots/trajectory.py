"""The levels of a sample from noise to picture, ready to be shown side by side."""

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

# Noise is shown at half its standard deviation around middle grey: then 5 % of its pixels are
# clipped to black or white, in the place of 32 %.
_NOISE_CONTRAST = 2.0


@dataclass(frozen=True)
class Level:
    """One level ``z_t`` of some samples as 8-bit pictures.

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
    """Some levels of N samples, and the samples' classes.

    Attributes:
        names: N class names; empty for a sample without a condition.
        levels: some of the T + 1 levels, in the order of sampling.
        num_layers: T.
    """

    names: tuple[str, ...]
    levels: tuple[Level, ...]
    num_layers: int


def choose_levels(schedule: Schedule, most: int = 12) -> tuple[int, ...]:
    """The levels t to show: at most ``most``, rising, spaced as evenly as possible.

    The noise, the picture and the first level of each resolution are always shown, even if these
    alone are more than ``most``.
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
    """A level as uint8 ``[N, h, w, C]``: ``z / sqrt(factor^2 + 4 sigma^2)``.

    The orthonormal low-pass multiplies amplitudes by ``factor``, and the noise adds to them. A
    clean picture keeps its contrast, and pure noise lies around middle grey.

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
