"""Batches of samples, each row a pure function of its own seed, index and label."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pipeline.chain.schedule import build_schedule
from pipeline.errors import UserError
from pipeline.networks.condition import NO_LABEL
from pipeline.pictures import from_signed
from pipeline.sampling.base import Rows, walk
from pipeline.sampling.guidance import Guided
from pipeline.sampling.options import SAMPLERS, SamplingOptions
from pipeline.stack import Stack


def _condition(stack: Stack, labels: np.ndarray) -> Tensor | None:
    kind = stack.spec.condition.kind
    if kind == "none":
        return None
    if kind == "embedding":
        raise UserError("this stack is conditioned on embeddings; labels cannot be given to it")
    classes = stack.spec.condition.size
    bad = (labels < NO_LABEL) | (labels >= classes)
    if bad.any():
        raise UserError(f"label {labels[bad][0]} is outside the model's classes 0 to {classes - 1}")
    return torch.as_tensor(labels, dtype=torch.int64, device=stack.device)


def trajectory(
    stack: Stack,
    seeds: np.ndarray,
    indices: np.ndarray,
    labels: np.ndarray,
    options: SamplingOptions | None = None,
) -> Iterator[Tensor]:
    """The levels ``z_0 ... z_T`` of one batch of any size; arguments as `sample`.

    Yields:
        float32 ``[N, C, h, w]``; the last is the picture in [-1, 1], not clipped.
    """
    chosen = (options or SamplingOptions()).resolve(stack.spec)
    assert chosen.sampler is not None
    assert chosen.layers is not None
    assert chosen.guidance is not None
    spec = stack.spec
    denoiser = Guided(
        stack,
        chosen.guidance,
        chosen.guidance_interval,
        chosen.threshold,
        tuple(len(spec.stages) - 1 - s for s in range(len(spec.stages))),
    )
    yield from walk(
        denoiser,
        build_schedule(spec.stages, chosen.layers),
        SAMPLERS[chosen.sampler],
        Rows(seeds, indices),
        _condition(stack, labels),
        picture_shape=spec.picture_shape,
        tau2_after=spec.tau2_after,
        device=stack.device,
    )


def _picture(
    stack: Stack,
    seeds: np.ndarray,
    indices: np.ndarray,
    labels: np.ndarray,
    options: SamplingOptions | None,
) -> np.ndarray:
    level = None
    for level in trajectory(stack, seeds, indices, labels, options):  # noqa: B007
        pass
    assert level is not None
    return from_signed(level)


@torch.inference_mode()
def sample(
    stack: Stack,
    seeds: np.ndarray,
    indices: np.ndarray,
    labels: np.ndarray,
    options: SamplingOptions | None = None,
) -> np.ndarray:
    """One picture for each row, bit for bit the same in any batch (on CPU; see `is_exact`).

    Networks are called with ``stack.rows_per_call`` rows, always: short batches are padded.

    Args:
        seeds: int64 ``[N]``.
        indices: int64 ``[N]``, the samples' indices under their seeds.
        labels: int64 ``[N]``, classes; -1 for no condition.
        options: see `SamplingOptions`.

    Returns:
        uint8 ``[N, H, W, C]``.

    Raises:
        UserError: a label outside the classes, or options that the model cannot follow.
    """
    stack.eval()
    num, size = len(seeds), stack.rows_per_call
    out = np.empty((num, *stack.shape), dtype=np.uint8)
    for start in range(0, num, size):
        stop = min(start + size, num)
        rows = np.arange(start, start + size)
        rows[stop - start :] = start  # padding repeats the first row; its results are dropped
        batch = _picture(
            stack,
            np.asarray(seeds)[rows],
            np.asarray(indices)[rows],
            np.asarray(labels)[rows],
            options,
        )
        out[start:stop] = batch[: stop - start]
    return out


def is_exact(stack: Stack) -> bool:
    """Whether samples match their solo run bit for bit here: a self-test for when a model loads.

    Draws as many rows as one call takes, then each of three of them alone.
    """
    size = stack.rows_per_call
    seeds, indices = np.full(size, 20260101), np.arange(size)
    labels = np.arange(size) % max(1, stack.spec.condition.size)
    together = sample(stack, seeds, indices, labels)
    return all(
        np.array_equal(
            together[i : i + 1],
            sample(stack, seeds[i : i + 1], indices[i : i + 1], labels[i : i + 1]),
        )
        for i in (0, size // 2, size - 1)
    )
