"""The bound in bits a dimension, on the device and on the CPU."""

import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch

from benchmarks.gpu.device import convolutions_in_tf32
from benchmarks.gpu.inputs import SHAPES, Sizes, pictures
from benchmarks.gpu.training import trained_stack
from pipeline.chain.schedule import build_schedule, split_layers
from pipeline.chain.transition import posterior_scale
from pipeline.likelihood import Bound, estimate_bound
from pipeline.pictures import to_signed
from pipeline.stack import Stack


def bound(name: str, sizes: Sizes, device: torch.device) -> Iterator[dict[str, Any]]:
    """Bits a dimension on the device and on the CPU."""
    trained = trained_stack(name, sizes, device)
    num, layers = sizes.bound
    images, labels = pictures(SHAPES[name][0], num)
    stages = trained.spec.stages
    schedule = build_schedule(stages, split_layers(stages, layers))

    def on(stack: Stack, precise: bool) -> tuple[Bound, float]:
        start = time.perf_counter()
        with convolutions_in_tf32(not precise):
            result = estimate_bound(
                stack,
                schedule,
                to_signed(images).to(stack.device),
                torch.from_numpy(labels).to(stack.device),
                tau2_after=stack.spec.tau2_after,
                # The source's own variances: there are no error curves here to tune them by.
                variance=lambda layer: posterior_scale(layer).variance or layer.sigma_from**2,
            )
        return result, time.perf_counter() - start

    cpu, seconds = on(deepcopy(trained).to("cpu"), True)
    yield {"cpu_bits_per_dim": cpu.bits_per_dim, "cpu_seconds": seconds}
    for mode in ("tf32", "float32") if device.type == "cuda" else ("float32",):
        there, seconds = on(trained, mode == "float32")
        yield {
            f"{mode}_bits_per_dim": there.bits_per_dim,
            f"{mode}_seconds": seconds,
            f"{mode}_minus_cpu_bits_per_dim": there.bits_per_dim - cpu.bits_per_dim,
        }
