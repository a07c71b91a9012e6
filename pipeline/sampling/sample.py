"""Batches of samples, each row a pure function of its own seed, index and condition."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.fixed_batch import padded_calls
from pipeline.pictures import from_signed
from pipeline.precision import full_float32
from pipeline.sampling.base import SampleKeys
from pipeline.sampling.loop import SamplingLoop
from pipeline.sampling.options import SamplingOptions
from pipeline.stack import Stack


def calls(num: int, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Cuts ``num`` rows into calls of exactly ``size`` rows.

    Yields:
        Where a call's results go, and the rows that it takes. The last call is padded;
        what comes out beyond the slice is dropped.
    """
    start = 0
    for num_real, (rows,) in padded_calls(torch.arange(num), rows_per_call=size) if num else ():
        yield slice(start, start + num_real), rows.numpy()
        start += num_real


def trajectory(
    stack: Stack,
    seeds: np.ndarray,
    indices: np.ndarray,
    conditions: np.ndarray,
    options: SamplingOptions | None = None,
) -> Iterator[Tensor]:
    """The levels ``z_0 ... z_T`` of one batch of any size; arguments as `sample`.

    Yields:
        float32 ``[N, C, h, w]``; the last is the picture in [-1, 1], not clipped.
    """
    loop = SamplingLoop(stack, stack.spec, options, stack.device)
    return loop.levels(SampleKeys(seeds, indices), conditions)


@full_float32()
@torch.inference_mode()
def sample(
    stack: Stack,
    seeds: np.ndarray,
    indices: np.ndarray,
    conditions: np.ndarray,
    options: SamplingOptions | None = None,
) -> np.ndarray:
    """One picture for each row, bit for bit the same in any batch (on one CPU; see `is_exact`).

    Networks are always called with ``stack.rows_per_call`` rows; short batches are padded.

    Args:
        stack: with all of its stages.
        seeds: int64 ``[N]``.
        indices: int64 ``[N]``, the samples' indices under their seeds.
        conditions: as `Condition.read` takes them. Labels are int64 ``[N]``, -1 for none of it, and
            so for a model without a condition; vectors ``[N, D]``, texts ``[N, 1 + L, D]``.
        options: see `SamplingOptions`.

    Returns:
        uint8 ``[N, H, W, C]``.

    Raises:
        UserError: a stack of vectors, a condition that the model does not know, or options that it
            cannot follow.
    """
    if stack.spec.of_vectors:
        raise UserError(
            "this model is a prior, of vectors, not of pictures; draw with sample_vectors"
        )
    stack.eval()
    loop = SamplingLoop(stack, stack.spec, options, stack.device)
    seeds, indices, conditions = map(np.asarray, (seeds, indices, conditions))
    out = np.empty((len(seeds), *stack.shape), dtype=np.uint8)
    for place, rows in calls(len(seeds), stack.rows_per_call):
        z = None
        for stage in range(len(stack.spec.stages)):
            z = loop.run_stage(stage, z, SampleKeys(seeds[rows], indices[rows]), conditions[rows])
        assert z is not None
        out[place] = from_signed(z)[: place.stop - place.start]
    return out


@full_float32()
@torch.inference_mode()
def sample_stage(
    stack: Stack,
    stage: int,
    z: np.ndarray | None,
    seeds: np.ndarray,
    indices: np.ndarray,
    conditions: np.ndarray,
    options: SamplingOptions | None = None,
) -> np.ndarray:
    """One stage of `sample`. After the last stage, `from_signed` gives the same bits as `sample`.

    Args:
        stack: one that holds this stage's network at least.
        stage: 0 is the coarsest.
        z: the result of the stage before, float32 ``[N, C, h, w]``; None at stage 0.
        seeds, indices, conditions, options: as in `sample`.

    Returns:
        float32 ``[N, C, h, w]``: the next stage's ``z``; after the last stage the picture in
        [-1, 1], not clipped.
    """
    stack.eval()
    loop = SamplingLoop(stack, stack.spec, options, stack.device)
    seeds, indices, conditions = map(np.asarray, (seeds, indices, conditions))
    last = len(stack.spec.stages) - 1
    out = np.empty((len(seeds), *stack.spec.picture_shape(min(stage + 1, last))), np.float32)
    for place, rows in calls(len(seeds), stack.rows_per_call):
        # torch.tensor: memory aligned as torch has it, whoever made the array
        start = None if z is None else torch.tensor(z[rows], device=stack.device)
        end = loop.run_stage(stage, start, SampleKeys(seeds[rows], indices[rows]), conditions[rows])
        out[place] = end[: place.stop - place.start].cpu().numpy()
    return out
