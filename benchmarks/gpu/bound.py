"""The bound in bits a dimension, on the device and on the CPU."""

import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch

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

    def on(stack: Stack) -> tuple[Bound, float]:
        start = time.perf_counter()
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

    on_cpu, cpu_seconds = on(deepcopy(trained).to("cpu"))
    there, seconds = on(trained)
    yield {
        "cpu_bits_per_dim": on_cpu.bits_per_dim,
        "cpu_seconds": cpu_seconds,
        "bits_per_dim": there.bits_per_dim,
        "seconds": seconds,
        "minus_cpu_bits_per_dim": there.bits_per_dim - on_cpu.bits_per_dim,
    }
