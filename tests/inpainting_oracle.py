"""Exact answers about known pixels of Gaussian pictures, in float64 and without Monte Carlo."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from oracles import Gaussian, GaussianStack, haar_matrices
from torch import Tensor

from pipeline.chain.schedule import Layer, Schedule
from pipeline.sampling.base import SampleKeys, Sampler


@dataclass(frozen=True)
class Moments:
    """Mean ``[D]`` and covariance ``[D, D]``."""

    mean: Tensor
    covariance: Tensor

    def off(self, exact: "Moments", unknown: Tensor) -> tuple[float, float]:
        """How far these are from the exact ones: of the means the largest error in standard
        deviations, of the covariances the relative error in Frobenius norm."""
        spread = exact.covariance.diagonal()[unknown].sqrt()
        mean = (self.mean - exact.mean)[unknown].abs() / spread
        return float(mean.max()), float(
            (self.covariance - exact.covariance).norm() / exact.covariance.norm()
        )


def conditional(data: Gaussian, x: Tensor, mask: Tensor) -> Moments:
    """The law of a picture whose pixels under ``mask`` are those of ``x``, ``[h, w]`` both."""
    known, x = mask.flatten(), x.flatten()
    unknown = ~known
    precision = torch.linalg.inv(data.covariance)
    within = torch.linalg.inv(precision[unknown][:, unknown])
    pull = within @ precision[unknown][:, known]
    mean, covariance = x.clone(), torch.zeros_like(data.covariance)
    mean[unknown] = data.mean[unknown] - pull @ (x - data.mean)[known]
    places = unknown.nonzero().flatten()
    covariance[places[:, None], places] = within
    return Moments(mean, covariance)


Affine = tuple[Tensor, Tensor, float]
"""A layer's map ``[D, D]``, its shift ``[D]``, and the variance that it adds."""


def ancestral(
    stack: GaussianStack, variance: Callable[[Layer], float]
) -> Callable[[Layer], Affine]:
    """The layers of the ancestral chain, by their formula.

    Args:
        variance: of a layer's draw, per coefficient.
    """

    def affine(layer: Layer) -> Affine:
        here = stack.stages[layer.stage]
        identity = torch.eye(here.size, dtype=torch.float64)
        rho, gain = layer.sigma_to**2 / layer.sigma_from**2, here.gain(layer.sigma_from)
        shift = (1 - rho) * (identity - gain) @ here.mean
        return (1 - rho) * gain + rho * identity, shift, variance(layer)

    return affine


def of_sampler(stack: GaussianStack, sampler: Sampler) -> Callable[[Layer], Affine]:
    """The layers of a sampler that draws nothing, from what it makes of 0 and of each axis."""

    def affine(layer: Layer) -> Affine:
        here = stack.stages[layer.stage]
        axes = torch.eye(here.size, dtype=torch.float64)
        z = torch.cat((torch.zeros(1, here.size).double(), axes)).reshape(-1, *here.shape)
        none = np.empty(0, np.int64)
        found, _ = sampler.step(
            z,
            layer,
            lambda z, sigma: here.denoise(z, torch.full((len(z),), sigma)),
            SampleKeys(none, none),
            None,
        )
        shift = found[0].flatten()
        return (found[1:].flatten(1) - shift).T, shift, 0.0

    return affine


def moments_around(
    stack: GaussianStack,
    schedule: Schedule,
    layers: Callable[[Layer], Affine],
    x: Tensor,
    mask: Tensor,
    resample: int,
) -> Moments:
    """What a sampler draws around known pixels, each layer ``resample`` times.

    Every step is linear with Gaussian noise, so moments go from step to step exactly.

    Args:
        layers: what the sampler makes of a layer, `ancestral` or `of_sampler`.
        x, mask: ``[h, w]``, one channel.
    """
    known = {len(x): (x.flatten(), mask.flatten())}
    small, small_mask = x.flatten(), mask
    for stage in reversed(stack.stages[1:]):
        low, _ = haar_matrices(stage.shape)
        small, half = low @ small, len(small_mask) // 2
        corners = small_mask.reshape(half, 2, half, 2)
        small_mask = corners[:, 0, :, 0] & corners[:, 0, :, 1] & corners[:, 1, :, 0]
        small_mask = small_mask & corners[:, 1, :, 1]
        known[half] = small, small_mask.flatten()

    def replaced(mean: Tensor, covariance: Tensor, side: int, sigma: float) -> Moments:
        values, here = known[side]
        free = (~here).double()
        return Moments(
            torch.where(here, values, mean),
            covariance * free * free[:, None] + sigma**2 * torch.diag(here.double()),
        )

    size, sigma = stack.stages[0].size, schedule.sigmas[0]
    first = sigma**2 * torch.eye(size, dtype=torch.float64)
    z = replaced(torch.zeros(size, dtype=torch.float64), first, schedule.sides[0], sigma)
    for layer in schedule.layers:
        step, shift, variance = layers(layer)
        identity = torch.eye(len(shift), dtype=torch.float64)
        for repetition in range(resample):
            mean, covariance = z.mean, z.covariance
            if layer.changes_resolution:
                low, high = haar_matrices(stack.stages[layer.stage + 1].shape)
            if repetition:
                if layer.changes_resolution:
                    mean, covariance = low @ mean, low @ covariance @ low.T
                covariance = covariance + (layer.sigma_from**2 - layer.sigma_to**2) * identity
            mean = step @ mean + shift
            covariance = step @ covariance @ step.T + variance * identity
            if layer.changes_resolution:
                bands = (layer.sigma_to**2 + stack.tau2_after(layer.stage)).reshape(-1)
                drawn = torch.diag(bands.repeat_interleave(high.shape[0] // len(bands)))
                mean = low.T @ mean
                covariance = low.T @ covariance @ low + high.T @ drawn @ high
            z = replaced(mean, covariance, layer.side_to, layer.sigma_to)
    return z
