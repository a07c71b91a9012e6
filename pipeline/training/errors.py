"""The denoiser's error against the noise level: what the tuned variance of the bound needs."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from pipeline.chain.haar import low_pass_to
from pipeline.stack import Stack


@torch.inference_mode()
def measure_errors(
    stack: Stack,
    batches: Iterable[tuple[Tensor, Tensor | None]],
    *,
    num_levels: int = 17,
    seed: int = 0,
) -> tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]:
    """Each stage's mean squared error per coefficient on a grid of noise levels.

    Args:
        batches: pictures in [-1, 1] and their conditions, best ones that were not trained on.
        num_levels: points of the grid, even in log sigma over the stage's training range.

    Returns:
        For each stage the levels' logarithms and the errors.
    """
    stack.eval()
    held = list(batches)
    curves = []
    for stage, part in enumerate(stack.spec.stages):
        low, high = part.training_range()
        levels = torch.linspace(math.log(low), math.log(high), num_levels, dtype=torch.float64)
        errors = []
        for number, level in enumerate(levels):
            key = (seed * 7919 + stage * 1009 + number) % 2**63
            generator = torch.Generator().manual_seed(key)
            total, count = 0.0, 0
            for x, condition in held:
                x_r = low_pass_to(x, part.side)
                sigma = torch.full((len(x),), float(level.exp()), device=x.device)
                noise = torch.randn(x_r.shape, generator=generator).to(x)
                x_hat = stack(stage, x_r + sigma[:, None, None, None] * noise, sigma, condition)
                total += float((x_hat - x_r).square().double().sum())
                count += x_r.numel()
            errors.append(total / max(1, count))
        curves.append((tuple(float(v) for v in levels), tuple(errors)))
    return tuple(curves)
