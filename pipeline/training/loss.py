"""The loss of the denoiser stack.

The source's loss is ``sum_t w_t |Dec_t(z_{t-1}, c) - z_t|^2``. Given ``z_{t-1}`` its gradient
equals in expectation that of ``(1 - rho)^2 w_t |x_hat - x_r|^2``, which has less variance: that one
is used.
"""

from collections.abc import Callable

from torch import Tensor

from pipeline.chain.haar import low_pass_to
from pipeline.stack_spec import StackSpec
from pipeline.training.draws import RowDraws
from pipeline.training.weighting import Weighting


def stage_loss(
    denoiser: Callable[..., Tensor],
    spec: StackSpec,
    stage: int,
    x: Tensor,
    condition: Tensor | None,
    weighting: Weighting,
    draws: RowDraws,
    *,
    drop_condition: float = 0.1,
) -> Tensor:
    """The part that these rows add to a stage's loss, a scalar.

    The loss is the mean over all rows of the step of the weighted squared error of ``x_hat``, also
    a mean over coefficients.

    Args:
        denoiser: a `Stack`; it gets a dropout mask as its last argument where the spec asks for
            dropout.
        spec: the stack's spec.
        stage: 0 is the coarsest.
        x: full-resolution pictures in [-1, 1], ``[N, C, H, W]``.
        condition: see `Condition`; None is null for all rows.
        weighting: the density and the weights of the noise levels.
        draws: for these N rows, on the device of ``x``; the only source of randomness.
        drop_condition: the probability of replacing a row's condition by the null condition.
    """
    low, high = weighting.range(spec.stages[stage])
    sigma_d = spec.sigma_data[stage]
    x_r = low_pass_to(x, spec.stages[stage].side)
    sigma = weighting.draw(draws.strata(), low, high, sigma_d)
    noise = draws.normal(*x_r.shape[1:])
    dropped = draws.uniform() < drop_condition
    if condition is not None:
        condition = spec.condition.rule.drop(condition, dropped)
    dropout_mask = draws.dropout_mask(spec.num_features(stage), spec.dropout)
    factors = () if dropout_mask is None else (dropout_mask,)
    x_hat = denoiser(stage, x_r + sigma[:, None, None, None] * noise, sigma, condition, *factors)
    error = (x_hat - x_r).square().mean(dim=(1, 2, 3))
    share = x_r[0].numel() / x[0].numel()
    weight = weighting.weight(sigma, low, high, sigma_d)
    return weighting.stage_scale(share) * (weight * error).sum() / draws.total
