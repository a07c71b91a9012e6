"""Sampling on the device: speed, rows against their solo run, and the device against the CPU."""

import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.device import peak_memory
from benchmarks.gpu.inputs import CLASSES, Sizes
from benchmarks.gpu.training import trained_stack
from pipeline.sampling import SamplingOptions, is_exact, sample
from pipeline.stack import Stack


def with_rows_per_call(stack: Stack, rows: int) -> Stack:
    """The same weights, called with so many rows."""
    other = Stack(replace(stack.spec, rows_per_call=rows))
    other.load_state_dict(stack.state_dict())
    return other.to(stack.device).eval()


def sampling(name: str, sizes: Sizes, device: torch.device) -> Iterator[dict[str, Any]]:
    """Samples a second; rows against their solo run; the device against the CPU."""
    trained = trained_stack(name, sizes, device)
    num = sizes.samples
    seeds, indices, labels = np.full(num, 7), np.arange(num), np.arange(num) % CLASSES
    once, again = (sample(trained, seeds, indices, labels) for _ in range(2))
    yield {"against_itself_again": compared(once, again)}
    for rows in sizes.calls:
        yield {f"calls_of_{rows}": one_size(with_rows_per_call(trained, rows), sizes)}
    for sampler in ("dpmpp_2m", "ddpm", "ddim", "heun"):
        told = SamplingOptions(sampler=sampler)
        yield {
            f"{sampler}_against_cpu": compared(
                sample(deepcopy(trained).to("cpu"), seeds, indices, labels, told),
                sample(trained, seeds, indices, labels, told),
            )
        }


def one_size(stack: Stack, sizes: Sizes) -> dict[str, Any]:
    """Speed, memory and exactness of calls of one size."""
    size = stack.rows_per_call
    num = min(8 * size, 2 * sizes.calls[-1])
    seeds, indices, labels = np.full(num, 7), np.arange(num), np.arange(num) % CLASSES
    sample(stack, seeds[:size], indices[:size], labels[:size])
    with peak_memory(stack.device) as memory:
        start = time.perf_counter()
        together = sample(stack, seeds, indices, labels)
        seconds = time.perf_counter() - start
    alone = np.linspace(0, size - 1, sizes.alone).astype(int)
    solo = [sample(stack, seeds[i : i + 1], indices[i : i + 1], labels[i : i + 1]) for i in alone]
    reordered = np.roll(np.arange(size), 3)
    moved = sample(stack, seeds[reordered], indices[reordered], labels[reordered])
    return {
        "samples_per_second": num / seconds,
        "self_test_says_exact": is_exact(stack),
        "against_solo": compared(together[alone], np.concatenate(solo)),
        "against_other_places_in_the_call": compared(together[reordered], moved),
        **memory,
    }


def compared(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """How far two sets of uint8 pictures lie apart."""
    apart = np.abs(a.astype(int) - b.astype(int))
    return {
        "share_of_equal_rows": float((apart.reshape(len(a), -1).max(axis=1) == 0).mean()),
        "share_of_pixels_that_differ": float((apart > 0).mean()),
        "largest_difference_levels": int(apart.max()),
        "mean_difference_levels": float(apart.mean()),
    }
