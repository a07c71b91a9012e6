"""What draws the engine's batches: whole pictures, or the rest of pictures known in part."""

from dataclasses import dataclass

import numpy as np

from pipeline.sampling import SamplingOptions, sample
from pipeline.sampling.inpainting import inpaint
from pipeline.sampling.prior import Prior
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


@dataclass(frozen=True)
class ThroughPrior:
    """A decoder's pictures of sentences: a prior draws the vector that each is drawn on.

    Attributes:
        drawing: by the decoder.
    """

    drawing: SamplingOptions | Editing


Drawing = SamplingOptions | Editing | ThroughPrior
"""What all rows of a batch have in common."""


def draw(
    stack: Stack,
    prior: Prior | None,
    seeds: np.ndarray,
    indices: np.ndarray,
    conditions: np.ndarray,
    drawing: Drawing,
    *around: np.ndarray,
) -> np.ndarray:
    """A batch; each row's bits depend on that row alone.

    Args:
        stack: that draws.
        prior: in front of it, for `ThroughPrior`.
        seeds, indices, conditions: as `sample` takes them, or as the prior does.
        around: of `Editing`, the pictures and which of their pixels are known, as `inpaint` takes
            them.

    Returns:
        uint8 ``[N, H, W, C]``.
    """
    if isinstance(drawing, ThroughPrior):
        assert prior is not None
        vectors = prior.vectors(seeds, indices, conditions)
        return draw(stack, None, seeds, indices, vectors, drawing.drawing, *around)
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
