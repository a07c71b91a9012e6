"""What draws the engine's batches: whole pictures, or the rest of pictures known in part."""

from dataclasses import dataclass

import numpy as np

from pipeline.sampling import SamplingOptions, sample
from pipeline.sampling.inpainting import inpaint
from pipeline.stack import Stack


@dataclass(frozen=True)
class Editing:
    """How the rest of a picture is drawn.

    Attributes:
        options: as whole pictures are drawn.
        resample, moment_steps: see `inpaint`.
    """

    options: SamplingOptions
    resample: int
    moment_steps: int = 0


Drawing = SamplingOptions | Editing
"""What all rows of a batch have in common."""


def draw(
    stack: Stack,
    seeds: np.ndarray,
    indices: np.ndarray,
    conditions: np.ndarray,
    drawing: Drawing,
    *around: np.ndarray,
) -> np.ndarray:
    """A batch; each row's bits depend on that row alone.

    Args:
        seeds, indices, conditions: as `sample` takes them.
        around: of `Editing`, the pictures and which of their pixels are known, as `inpaint` takes
            them.

    Returns:
        uint8 ``[N, H, W, C]``.
    """
    if isinstance(drawing, Editing):
        pictures, known = around
        return inpaint(
            stack,
            seeds,
            indices,
            conditions,
            pictures,
            known,
            drawing.options,
            resample=drawing.resample,
            moment_steps=drawing.moment_steps,
        )
    return sample(stack, seeds, indices, conditions, drawing)
