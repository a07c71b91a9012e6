"""The moments of the data that the schedule and the preconditioning need, in one pass."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.chain.haar import details, low_pass
from pipeline.chain.schedule import Stage
from pipeline.errors import UserError
from pipeline.pictures import to_chain


@dataclass(frozen=True)
class DataStatistics:
    """Second moments of the pictures, scaled to [-1, 1], at each resolution; or of vectors.

    Attributes:
        sides: the resolutions' heights, coarsest first.
        sigma_data: root mean square of a coefficient at each resolution.
        tau2: mean square of the detail bands between each resolution and the next,
            ``[S - 1][3][C]``.
    """

    sides: tuple[int, ...]
    sigma_data: tuple[float, ...]
    tau2: tuple[tuple[tuple[float, ...], ...], ...]


def measure(batches: Iterable[np.ndarray], sides: Sequence[int]) -> DataStatistics:
    """The statistics of batches at resolutions ``sides``, coarsest first.

    Args:
        batches: pictures or vectors, as `to_chain` takes them.
        sides: the resolutions' heights; 1 alone for vectors.

    Raises:
        UserError: no rows, or a resolution that halving the pictures does not reach.
    """
    fine_first = sorted(sides, reverse=True)
    squares = [0.0] * len(sides)
    bands: list[torch.Tensor | None] = [None] * (len(sides) - 1)
    rows = 0
    for images in batches:
        x = to_chain(images).double()
        check_sides(tuple(images.shape[1:3]), sides)
        rows += len(x)
        for i in range(len(fine_first)):
            squares[i] += float(x.square().mean(dim=(1, 2, 3)).sum())
            if i + 1 < len(fine_first):
                band = details(x).square().mean(dim=(3, 4)).sum(dim=0)
                total = bands[i]
                bands[i] = band if total is None else total + band
                x = low_pass(x)
    if rows == 0:
        raise UserError("the data set has no pictures to train on")
    sigma_data = tuple(math.sqrt(max(s / rows, 1e-12)) for s in reversed(squares))
    tau2 = tuple(
        tuple(tuple(float(v) for v in band_row) for band_row in (band / rows).tolist())
        for band in reversed(bands)
        if band is not None
    )
    return DataStatistics(tuple(sorted(sides)), sigma_data, tau2)


def check_sides(picture: tuple[int, int], sides: Sequence[int]) -> None:
    """Refuses stages that are not successive halvings of the picture.

    Args:
        picture: height and width in pixels.
        sides: the stages' heights; the last must be the picture's own.

    Raises:
        UserError: they do not fit.
    """
    ordered = sorted(sides)
    height, width = picture
    halvings = max(0, len(ordered) - 1)
    expected = [height // 2**k for k in range(halvings, -1, -1)]
    if ordered != expected or height % 2**halvings or width % 2**halvings:
        raise UserError(
            f"stages {list(sides)} do not fit pictures of {height}x{width}: each stage is twice "
            f"the one before and the last is the picture's height; for example "
            f"{[height // 2, height] if height % 2 == 0 and width % 2 == 0 else [height]}"
        )


def stages_for(
    statistics: DataStatistics, *, sigma_max: float, sigma_min: float, switch: float = 0.07
) -> tuple[Stage, ...]:
    """The stages: resolution rises where the detail bands sink into the noise.

    ``sigma_switch = RMS(detail bands) / sqrt(switch)``: there the details carry ``switch`` times
    the noise's power, so drawing them blindly costs little.

    Raises:
        UserError: the levels do not fall from stage to stage.
    """
    highs = [sigma_max]
    for band in statistics.tau2:
        highs.append(math.sqrt(float(np.mean(band)) / switch))
    lows = [*highs[1:], sigma_min]
    if any(high <= low * 1.05 for high, low in zip(highs, lows, strict=True)):
        levels = ", ".join(f"{v:.3g}" for v in [*highs, sigma_min])
        raise UserError(
            f"the noise levels where the stages meet do not fall ({levels}); "
            "use fewer stages, a larger sigma_max or a smaller sigma_min"
        )
    return tuple(
        Stage(side, high, low)
        for side, high, low in zip(statistics.sides, highs, lows, strict=True)
    )
