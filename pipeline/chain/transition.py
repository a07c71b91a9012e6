"""The chain's exact Gaussian transitions, across resolution changes too.

Time runs from noise (``z_0``) to picture (``z_T``), against the field's habit. Notation: ``z_t | x
~ N(x_r, sigma_t^2 I)`` with ``x_r`` the picture low-passed to level t's resolution; ``rho =
sigma_t^2 / sigma_{t-1}^2``. Derivation: product of two Gaussians, as in Sohl- Dickstein et al.
(2015); the Haar low-pass is orthonormal, so it commutes with white noise.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.chain.haar import low_pass, merge
from pipeline.chain.schedule import Layer


def noise_down(z_t: Tensor, layer: Layer, eps: Tensor) -> Tensor:
    """One layer down: ``z_{t-1} = L z_t + sqrt(sigma_{t-1}^2 - sigma_t^2) eps``.

    The reference form of the noising chain, which tests compose layer by layer. Training and the
    bound draw ``z_t`` from its marginal, in one step.

    Args:
        z_t: ``[N, C, h, w]`` at level t.
        layer: layer t; ``L`` is the identity where it keeps the resolution.
        eps: standard normal draws, of the shape of ``z_{t-1}``.

    Returns:
        ``z_{t-1}``: ``[N, C, h, w]``, or ``[N, C, h/2, w/2]`` where the resolution changes.
    """
    low = low_pass(z_t) if layer.changes_resolution else z_t
    return low + math.sqrt(layer.sigma_from**2 - layer.sigma_to**2) * eps


@dataclass(frozen=True)
class PosteriorScale:
    """The numbers of ``q(z_t | z_{t-1}, x)`` on the low band, or on the picture as a whole.

    Attributes:
        rho: the weight of ``z_{t-1}`` in the mean, ``sigma_t^2 / sigma_{t-1}^2``.
        variance: ``sigma_t^2 (1 - rho)``, per coefficient.
    """

    rho: float
    variance: float


def posterior_scale(layer: Layer) -> PosteriorScale:
    """See `PosteriorScale`; ``rho = 0`` and variance 0 in the last layer, where sigma_T = 0."""
    rho = (layer.sigma_to / layer.sigma_from) ** 2
    return PosteriorScale(rho, layer.sigma_to**2 * (1 - rho))


def posterior_mean(z: Tensor, x_r: Tensor, layer: Layer) -> Tensor:
    """``x_r + rho (z_{t-1} - x_r)`` at the resolution of ``z_{t-1}``.

    With the true ``x_r`` it is the posterior's mean (of the low band at a resolution change); with
    the network's ``x_hat`` it is ``Dec_t(z_{t-1}, c)``.

    Args:
        z: ``z_{t-1}``, ``[N, C, h, w]``.
        x_r: the clean picture, or an estimate of it, at the same resolution.
        layer: layer t.
    """
    rho = posterior_scale(layer).rho
    return x_r + rho * (z - x_r)


def tuned_variance(layer: Layer, mse: float) -> float:
    """The decoder's variance that maximises the likelihood bound, per coefficient.

    ``v = beta + (1 - rho)^2 e`` with ``beta`` the posterior's variance and ``e`` the denoiser's
    mean squared error per coefficient at sigma_{t-1}: the law of total variance. It equals
    ``beta (1 + (1/sigma_t^2 - 1/sigma_{t-1}^2) e)`` and stays finite in the last layer.
    """
    scale = posterior_scale(layer)
    return scale.variance + (1 - scale.rho) ** 2 * mse


def raise_resolution(low: Tensor, layer: Layer, tau2: Tensor, eps_detail: Tensor) -> Tensor:
    """``z_t`` from its low band: detail bands of mean 0 and variance ``sigma_t^2 + tau^2``.

    Args:
        low: ``L z_t``, ``[N, C, h, w]``.
        layer: layer t, which changes the resolution.
        tau2: the data's own variance in each band and channel, ``[3, C]``.
        eps_detail: standard normal, ``[N, 3, C, h, w]``.

    Returns:
        ``[N, C, 2h, 2w]``.
    """
    scale = torch.sqrt(layer.sigma_to**2 + tau2).to(low)[None, :, :, None, None]
    return merge(low, scale * eps_detail.to(low))
