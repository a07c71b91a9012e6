"""The variational bound on the likelihood of pictures, across resolution changes.

``-log p(x | c) <= prior + sum over layers + reconstruction`` (Sohl-Dickstein et al., 2015; Ho et
al., 2020). Every term but the last is a Kullback-Leibler divergence between Gaussians, in closed
form given ``z_{t-1} ~ q(. | x)``; the last is the discretised density of 8-bit pixels, layer T.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pipeline.chain.haar import details, low_pass_to
from pipeline.chain.noise import Purpose, keyed_normal
from pipeline.chain.permutation import keyed_permutation
from pipeline.chain.schedule import Layer, Schedule
from pipeline.chain.transition import posterior_scale
from pipeline.errors import UserError
from pipeline.precision import full_float32
from pipeline.sampling.base import Denoiser

LayerVariance = Callable[[Layer], float]
Reconstruction = Callable[[Tensor, Tensor, float], Tensor]
_OFF_LEVEL = 1e-5  # how far float32 may put a pixel off its level; levels lie 8e-3 apart


@dataclass(frozen=True)
class Bound:
    """The bound's terms, each a mean over pictures, and what each picture's own are together.

    Attributes:
        prior: divergence of ``z_0``, nats.
        layers: divergence of each layer 1 ... T - 1, nats.
        reconstruction: ``-log p(x | z_{T-1})``, nats.
        standard_error: of the sum, nats. It takes into account that the terms of one picture are
            correlated.
        num_coefficients: pixels times channels of a picture.
        pictures: float64 ``[N]``, what each picture adds to the mean, nats. With `rows_per_layer`
            a layer's mean stands in for pictures that were not drawn for it.
    """

    prior: float
    layers: tuple[float, ...]
    reconstruction: float
    standard_error: float
    num_coefficients: int
    pictures: Tensor = field(compare=False)

    @property
    def nats(self) -> float:
        """The bound on ``-log p(x | c)``, nats a picture."""
        return self.prior + sum(self.layers) + self.reconstruction

    @property
    def bits_per_dim(self) -> float:
        """The bound in bits a pixel and channel."""
        return self.nats / self.num_coefficients / math.log(2)

    @property
    def standard_error_bits_per_dim(self) -> float:
        """The standard error of `bits_per_dim`."""
        return self.standard_error / self.num_coefficients / math.log(2)

    @property
    def bits_per_nat(self) -> float:
        """What turns a part of the bound, in nats, into bits a pixel and channel."""
        return 1 / self.num_coefficients / math.log(2)


def discretised_density(x: Tensor, mean: Tensor, variance: float) -> Tensor:
    """``-log P(x)`` of 8-bit pixels under ``N(mean, variance)``, nats, ``[N]``.

    A pixel of level k stands at ``2k/255 - 1`` and owns the interval 1/255 to either side; the
    outermost levels own all that lies beyond (section 3.3 of Ho et al., 2020). In float64: a
    level's probability is a difference that float32 loses in a wide or far Gaussian.

    Raises:
        UserError: values that are no 8-bit pixels.
    """
    level, mean, scale = ((x.double() + 1) * 127.5).round(), mean.double(), math.sqrt(variance)
    if (level / 127.5 - 1 - x.double()).abs().max() > _OFF_LEVEL:
        raise UserError(
            "a bound in bits is one of 8-bit pictures, and these values lie off their levels; "
            "vectors have none"
        )
    upper = torch.where(level == 255, torch.inf, ((2 * level + 1) / 255 - 1 - mean) / scale)
    lower = torch.where(level == 0, -torch.inf, ((2 * level - 1) / 255 - 1 - mean) / scale)
    # In the upper tail both cumulatives are 1 to rounding: mirror the interval to the lower one.
    mirrored = lower + upper > 0
    a = torch.where(mirrored, -upper, lower)
    b = torch.where(mirrored, -lower, upper)
    log_a, log_b = torch.special.log_ndtr(a), torch.special.log_ndtr(b)
    log_p: Tensor = log_b + torch.log(-torch.expm1(log_a - log_b))
    return -log_p.flatten(1).sum(dim=1)


def _layer_divergence(x_hat: Tensor, x_r: Tensor, layer: Layer, v: float) -> Tensor:
    """``KL(q(z_t | z_{t-1}, x) || p(z_t | z_{t-1}))`` on the low band, ``[N]``."""
    scale = posterior_scale(layer)
    ratio = scale.variance / v
    squares = (x_hat - x_r).square().flatten(1).sum(dim=1)
    per_coefficient = 0.5 * (ratio - 1 - math.log(ratio))
    return x_r[0].numel() * per_coefficient + (1 - scale.rho) ** 2 * squares / (2 * v)


def _detail_divergence(x_next: Tensor, layer: Layer, tau2: Tensor) -> Tensor:
    """``KL(N(Hx, s^2) || N(0, s^2 + tau^2))`` of the detail bands, ``[N]``."""
    v = (layer.sigma_to**2 + tau2).to(x_next)[None, :, :, None, None]
    ratio = layer.sigma_to**2 / v
    terms = ratio - 1 - ratio.log() + details(x_next).square() / v
    return 0.5 * terms.flatten(1).sum(dim=1)


@full_float32()
@torch.inference_mode()
def estimate_bound(
    denoiser: Denoiser,
    schedule: Schedule,
    x: Tensor,
    condition: Tensor | None,
    *,
    tau2_after: Callable[[int], Tensor],
    variance: LayerVariance,
    reconstruction: Reconstruction = discretised_density,
    rows_per_layer: int | None = None,
    rows_per_call: int = 128,
    seed: int = 0,
) -> Bound:
    """The bound, estimated with one keyed draw of ``z_{t-1}`` a picture and layer.

    Args:
        denoiser: ``x_hat(z, sigma, c)``, such as a `Stack`.
        schedule: the chain that is bounded; its last level is the picture.
        x: pictures in [-1, 1], ``[N, C, H, W]``.
        condition: of these pictures, see `Condition`; None is null for all rows.
        tau2_after: maps a stage to the variance ``[3, C]`` of the detail bands where it ends.
        variance: the decoder's variance per coefficient in each layer; a stack's is
            `StackSpec.decoder_variance`. If it were fitted to these pictures, the result would be
            no bound for them.
        reconstruction: ``-log p(x | mean, variance)`` of the last layer, nats ``[N]``.
        rows_per_layer: each layer's term is the mean over this many pictures, drawn anew for each
            layer; None takes all. A small number makes T in the hundreds affordable, without bias.
        rows_per_call: the largest batch for the denoiser.
        seed: keys the noise and the choice of rows.

    Returns:
        The bound's terms. The standard error is infinite where a layer's term is that of one row.
    """
    num = len(x)
    wanted = num if rows_per_layer is None else min(num, rows_per_layer)
    first = schedule.layers[0]
    prior = low_pass_to(x, first.side_from).double().square().flatten(1).sum(dim=1)
    prior = prior / (2 * first.sigma_from**2)
    means: list[float] = []
    # What each picture adds to the estimate, less the mean: one picture's terms are correlated.
    excess = prior - prior.mean()
    for layer in schedule.layers:
        rows = np.arange(num)
        if wanted < num:
            rows = np.sort(keyed_permutation(seed, layer.index, Purpose.BOUND_ROWS, num)[:wanted])
        terms = torch.cat(
            [
                _layer_term(
                    denoiser,
                    layer,
                    x[part],
                    None if condition is None else condition[part],
                    torch.as_tensor(part),
                    tau2_after,
                    variance,
                    reconstruction,
                    seed,
                )
                for part in np.array_split(rows, -(-len(rows) // rows_per_call))
            ]
        ).double()
        means.append(float(terms.mean()))
        excess[torch.as_tensor(rows)] += (terms - terms.mean()) * (num / wanted)
    mean = float(prior.mean())
    return Bound(
        mean,
        tuple(means[:-1]),
        means[-1],
        float(excess.std()) / math.sqrt(num) if wanted > 1 else math.inf,
        x[0].numel(),
        (excess + (mean + sum(means))).cpu(),
    )


def _layer_term(
    denoiser: Denoiser,
    layer: Layer,
    x: Tensor,
    condition: Tensor | None,
    indices: Tensor,
    tau2_after: Callable[[int], Tensor],
    variance: LayerVariance,
    reconstruction: Reconstruction,
    seed: int,
) -> Tensor:
    x_r = low_pass_to(x, layer.side_from)
    seeds = torch.full_like(indices, seed)
    eps = keyed_normal(seeds, indices, layer.index, Purpose.BOUND, tuple(x_r.shape[1:])).to(x)
    z = x_r + layer.sigma_from * eps
    x_hat = denoiser(layer.stage, z, torch.full((len(x),), layer.sigma_from).to(x), condition)
    if layer.sigma_to == 0:
        return reconstruction(x_r, x_hat, variance(layer))
    term = _layer_divergence(x_hat, x_r, layer, variance(layer))
    if layer.changes_resolution:
        term = term + _detail_divergence(
            low_pass_to(x, layer.side_to), layer, tau2_after(layer.stage)
        )
    return term
