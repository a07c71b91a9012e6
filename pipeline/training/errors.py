"""The denoiser's error against the noise level: what the tuned variance of the bound needs."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from pipeline.chain.haar import low_pass_to
from pipeline.chain.noise import Purpose, keyed_normal
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

    A picture's noise in a stage is keyed by its number and is the same at all levels, which makes
    the curve smooth: its points err together.

    Args:
        stack: with its averaged weights.
        batches: pictures ``[N, C, H, W]`` in [-1, 1] and their conditions. Pictures that a bound
            will be averaged over must not be among them.
        num_levels: points of the grid, even in log sigma from one end of the stage to the other.
        seed: keys the noise.

    Returns:
        For each stage the natural logarithms of the levels, rising, and the errors.
    """
    stack.eval()
    held = list(batches)
    curves = []
    for stage, part in enumerate(stack.spec.stages):
        levels = np.linspace(np.log(part.sigma_low), np.log(part.sigma_high), num_levels)
        totals, count, row = [0.0] * num_levels, 0, 0
        for x, condition in held:
            x_r = low_pass_to(x, part.side)
            rows = np.arange(row, row + len(x))
            noise = keyed_normal(
                np.full_like(rows, seed), rows, stage, Purpose.ERROR_CURVE, tuple(x_r.shape[1:])
            ).to(x)
            for number, sigma in enumerate(np.exp(levels).tolist()):
                sigmas = torch.full((len(x),), sigma, device=x.device)
                x_hat = stack(stage, x_r + sigma * noise, sigmas, condition)
                totals[number] += float((x_hat - x_r).square().double().sum())
            count += x_r.numel()
            row += len(x)
        errors = tuple(total / max(1, count) for total in totals)
        curves.append((tuple(levels.tolist()), errors))
    return tuple(curves)
