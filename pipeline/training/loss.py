"""The loss of the denoiser stack.

The source's loss is ``sum_t w_t |Dec_t(z_{t-1}, c) - z_t|^2``. Given ``z_{t-1}`` its gradient
equals in expectation that of ``(1 - rho)^2 w_t |x_hat - x_r|^2``, which has less variance: that one
is used.
"""

import torch
from torch import Tensor

from pipeline.chain.haar import low_pass_to
from pipeline.chain.schedule import Layer
from pipeline.chain.transition import posterior_mean
from pipeline.networks.condition import drop
from pipeline.sampling.base import Denoiser
from pipeline.stack_spec import StackSpec
from pipeline.training.weighting import Weighting


def stage_loss(
    denoiser: Denoiser,
    spec: StackSpec,
    stage: int,
    x: Tensor,
    condition: Tensor | None,
    weighting: Weighting,
    generator: torch.Generator,
    *,
    drop_condition: float = 0.1,
) -> Tensor:
    """The weighted squared error of ``x_hat`` in one stage, a scalar.

    Args:
        x: full-resolution pictures in [-1, 1], ``[N, C, H, W]``.
        condition: labels, embeddings or None.
        generator: on the device of ``x``; the only source of randomness.
        drop_condition: probability with which a row's condition is made null.
    """
    low, high = spec.stages[stage].training_range()
    sigma_d = spec.sigma_data[stage]
    x_r = low_pass_to(x, spec.stages[stage].side)
    num = len(x)
    # Stratified: one draw in each of N equal parts of the distribution, less variance for free.
    strata = torch.arange(num, device=x.device)
    uniform = (strata + torch.rand(num, generator=generator, device=x.device)) / num
    sigma = weighting.draw(uniform, low, high, sigma_d)
    noise = torch.randn(x_r.shape, generator=generator, device=x.device)
    dropped = torch.rand(num, generator=generator, device=x.device) < drop_condition
    if condition is not None:
        condition = drop(condition, dropped)
    x_hat = denoiser(stage, x_r + sigma[:, None, None, None] * noise, sigma, condition)
    error = (x_hat - x_r).square().mean(dim=(1, 2, 3))
    share = x_r[0].numel() / x[0].numel()
    weight = weighting.weight(sigma, low, high, sigma_d)
    return weighting.stage_scale(share) * (weight * error).mean()


def source_loss(x_hat: Tensor, z: Tensor, z_next: Tensor, layer: Layer) -> Tensor:
    """``|Dec_t(z_{t-1}, c) - z_t|^2``, summed over the picture, ``[N]``; same resolution only.

    The loss as the source states it. Training uses `stage_loss`; a test holds the two gradients
    equal.
    """
    return (posterior_mean(z, x_hat, layer) - z_next).square().sum(dim=(1, 2, 3))
