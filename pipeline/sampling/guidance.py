"""Classifier-free guidance (Ho and Salimans, 2022): interval, rescale, dynamic thresholding."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.sampling.base import Denoiser


@dataclass(frozen=True)
class Guided:
    """``x_hat = x_hat_null + g (x_hat_c - x_hat_null)``.

    Attributes:
        denoiser: the denoiser to guide.
        weight: ``g``; 1 is no guidance and costs nothing.
        interval: the noise levels ``(low, high]`` at which guidance acts (Kynkäänniemi et al.,
            2024); outside it the conditional denoiser stands alone.
        threshold: dynamic thresholding's percentile in (0, 1], or None for none (Saharia et al.,
            2022): where that percentile of ``|x_hat|`` exceeds the data's range, x_hat is clipped
            there and scaled back into the range.
        num_halvings: stage to the number of low-passes; each doubles the data's range.
        rescale: in [0, 1], how much of the way the guided x_hat is scaled to the standard
            deviation that the conditional one has (section 3.4 of Lin et al., 2023), each row by
            its own; thresholding comes after it. 0 changes nothing.
    """

    denoiser: Denoiser
    weight: float
    interval: tuple[float, float]
    threshold: float | None
    num_halvings: tuple[int, ...]
    rescale: float = 0.0

    def __call__(self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        x_hat = self.denoiser(stage, z, sigma, condition)
        if self.weight != 1 and condition is not None:
            x_null = self.denoiser(stage, z, sigma, None)
            inside = (sigma > self.interval[0]) & (sigma <= self.interval[1])
            weight = torch.where(inside, self.weight, 1.0)[:, None, None, None].to(x_hat)
            guided = x_null + weight * (x_hat - x_null)
            if self.rescale:
                factor = _spread(x_hat) / _spread(guided)
                factor = torch.where(inside & factor.isfinite(), factor, 1.0)
                guided = guided * (1 + self.rescale * (factor - 1))[:, None, None, None]
            x_hat = guided
        if self.threshold is not None:
            bound = 2.0 ** self.num_halvings[stage]
            x_hat = _dynamic_threshold(x_hat / bound, self.threshold) * bound
        return x_hat


def _spread(x_hat: Tensor) -> Tensor:
    """Each row's standard deviation over all of its channels and pixels, ``[N]``."""
    return x_hat.flatten(1).std(dim=1, correction=0)


def _dynamic_threshold(x_hat: Tensor, percentile: float) -> Tensor:
    limit = torch.quantile(x_hat.flatten(1).abs(), percentile, dim=1).clamp_min(1)
    limit = limit[:, None, None, None]
    return x_hat.clamp(-limit, limit) / limit
