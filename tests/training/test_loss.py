"""The loss: its gradient is the source's, and its minimum is the exact denoiser."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from oracles import Gaussian, GaussianStack, covariance_matrix
from small_stack import SPEC, small_stack
from torch import Tensor

from pipeline.chain.haar import low_pass_to
from pipeline.chain.schedule import Layer, Stage
from pipeline.chain.transition import noise_down, posterior_mean
from pipeline.training.draws import RowDraws
from pipeline.training.loss import stage_loss
from pipeline.training.weighting import WEIGHTINGS, Elbo, Weighting


def source_loss(x_hat: Tensor, z: Tensor, z_next: Tensor, layer: Layer) -> Tensor:
    """``|Dec_t(z_{t-1}, c) - z_t|^2``, summed over the picture, ``[N]``; same resolution only."""
    return (posterior_mean(z, x_hat, layer) - z_next).square().sum(dim=(1, 2, 3))


@pytest.mark.parametrize("log_snr", [-4.0, 0.0, 4.0])
def test_the_sources_loss_has_the_same_gradient_in_expectation_and_more_variance(
    log_snr: float,
) -> None:
    """Per row, in the coefficients of ``x_hat = a z + b``, off their optimum."""
    num = 40_000
    sigma = math.exp(-log_snr / 2)
    layer = Layer(1, 0, 1, 1, sigma, 0.8 * sigma)
    rho = 0.64
    generator = torch.Generator().manual_seed(0)
    x, eps_up, eps_down = torch.randn(3, num, 1, 1, 1, generator=generator, dtype=torch.float64)
    z_next = x + layer.sigma_to * eps_up
    z = noise_down(z_next, layer, eps_down)
    a = torch.full((num, 1, 1, 1), 0.4, dtype=torch.float64, requires_grad=True)
    b = torch.full((num, 1, 1, 1), 0.5, dtype=torch.float64, requires_grad=True)
    x_hat = a * z + b
    source = torch.autograd.grad(
        source_loss(x_hat, z, z_next, layer).sum(), (a, b), retain_graph=True
    )
    ours = torch.autograd.grad(((1 - rho) ** 2 * (x_hat - x).square()).sum(), (a, b))
    for theirs, mine in zip(source, ours, strict=True):
        difference = (theirs - mine).flatten()
        error = float(difference.std()) / math.sqrt(num)
        assert abs(float(difference.mean())) < 5 * error
        # The test has power: the gradient itself is far from zero.
        assert abs(float(mine.mean())) > 5 * float(mine.std()) / math.sqrt(num)
        assert theirs.var() > mine.var()


def test_the_variance_of_the_sources_loss_is_worst_in_strong_noise() -> None:
    """At the optimum in one dimension: the excess falls as the signal rises above the noise."""
    ratios = []
    for log_snr in (-4.0, 0.0, 4.0):
        sigma = math.exp(-log_snr / 2)
        layer = Layer(1, 0, 1, 1, sigma, 0.8 * sigma)
        generator = torch.Generator().manual_seed(1)
        x, up, down = torch.randn(3, 20_000, 1, 1, 1, generator=generator, dtype=torch.float64)
        z_next = x + layer.sigma_to * up
        z = noise_down(z_next, layer, down)
        best = (z / (1 + sigma**2)).requires_grad_()
        (source,) = torch.autograd.grad(source_loss(best, z, z_next, layer).sum(), best)
        (ours,) = torch.autograd.grad((0.36**2 * (best - x).square()).sum(), best)
        ratios.append(float(source.var() / ours.var()))
    assert ratios[0] > ratios[1] > ratios[2] > 1
    assert ratios[0] > 20


def test_the_sources_loss_is_least_at_the_posterior_mean_of_the_truth() -> None:
    layer = Layer(1, 0, 2, 2, 1.0, 0.5)
    x = torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    z_next = posterior_mean(x + 1, x, layer)
    assert torch.equal(source_loss(x, x + 1, z_next, layer), torch.zeros(3))
    off = source_loss(x + 0.1, x + 1, z_next, layer)
    torch.testing.assert_close(off, torch.full((3,), 8 * (0.75 * 0.1) ** 2))


# Pictures of 2x2 and their 1x1 low-pass; the weights' densities know these sigma_data.
DATA = Gaussian(
    (1, 2, 2), torch.tensor([0.3, 0, -0.2, 0.1]).double(), covariance_matrix([2, 1, 0.5, 0.1], 5)
)
EXACT = GaussianStack.of(DATA, 2)
GAUSSIAN_SPEC = replace(
    SPEC,
    shape=(2, 2, 1),
    stages=(Stage(1, 20.0, 1.0), Stage(2, 1.0, 0.05)),
    sigma_data=(1.2, 0.9),
)


def mean_loss(
    denoiser: object, stage: int, weighting: Weighting, num: int, *, seed: int = 0
) -> Tensor:
    x = DATA.draw(num, seed)
    draws = RowDraws((seed,), range(num), num)
    return stage_loss(denoiser, GAUSSIAN_SPEC, stage, x, None, weighting, draws)  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
def test_the_exact_denoiser_minimises_the_loss_of_every_weighting(name: str, stage: int) -> None:
    """The gradient along perturbations of any form vanishes there, and not a little beside it."""

    def gradient(theta: float, seed: int) -> list[float]:
        along = [torch.tensor(theta, dtype=torch.float64, requires_grad=True) for _ in range(3)]

        def denoiser(stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
            scale = torch.minimum(sigma, torch.tensor(1.0))[:, None, None, None]
            off = along[0] * z / (1 + sigma[:, None, None, None])
            off = off + along[1] + along[2] * torch.sin(3 * z)
            return EXACT(stage, z, sigma, condition) + scale * off

        loss = mean_loss(denoiser, stage, WEIGHTINGS[name], 256, seed=seed)
        return [float(g) for g in torch.autograd.grad(loss, along)]

    at_optimum = np.array([gradient(0.0, seed) for seed in range(40)])
    error = at_optimum.std(axis=0, ddof=1) / math.sqrt(40)
    assert (np.abs(at_optimum.mean(axis=0)) < 5 * error).all()
    beside = np.array([gradient(0.2, seed) for seed in range(40)])
    assert (beside.mean(axis=0) > 5 * beside.std(axis=0, ddof=1) / math.sqrt(40)).all()


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
def test_the_exact_denoisers_loss_is_the_weighted_error_in_closed_form(
    name: str, stage: int
) -> None:
    weighting = WEIGHTINGS[name]
    low, high = weighting.range(GAUSSIAN_SPEC.stages[stage])
    grid = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    sigma = weighting.draw(grid, low, high, GAUSSIAN_SPEC.sigma_data[stage])
    errors = torch.tensor([EXACT.stages[stage].mean_squared_error(float(s)) for s in sigma])
    weights = weighting.weight(sigma, low, high, GAUSSIAN_SPEC.sigma_data[stage])
    share = 0.25 if name == "elbo" and stage == 0 else 1.0
    exact = share * float((weights * errors).mean())
    losses = [float(mean_loss(EXACT, stage, weighting, 256, seed=seed)) for seed in range(40)]
    error = np.std(losses, ddof=1) / math.sqrt(40)
    assert abs(np.mean(losses) - exact) < 5 * error
    assert error < 0.05 * exact


class Spy:
    """Keeps what a loss gives its denoiser, and answers 0."""

    def __call__(self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        self.z, self.sigma, self.condition = z, sigma, condition
        return torch.zeros_like(z)


def spied(
    num: int, stage: int = 1, *, drop: float = 0.1, labels: bool = True
) -> tuple[Spy, Tensor]:
    x = torch.rand(num, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    spy = Spy()
    stage_loss(
        spy,
        SPEC,
        stage,
        x,
        torch.arange(num) % 3 if labels else None,
        WEIGHTINGS["edm"],
        RowDraws((0,), range(num), num),
        drop_condition=drop,
    )
    return spy, x


@pytest.mark.parametrize("stage", [0, 1])
def test_the_networks_see_the_low_passed_picture_in_white_noise_of_their_sigma(stage: int) -> None:
    num = 2000
    spy, x = spied(num, stage)
    noise = (spy.z - low_pass_to(x, SPEC.stages[stage].side)) / spy.sigma[:, None, None, None]
    count = noise.numel()
    assert abs(float(noise.mean())) < 5 / math.sqrt(count)
    assert abs(float(noise.square().mean()) - 1) < 5 * math.sqrt(2 / count)
    by_row = noise.square().mean(dim=(1, 2, 3))
    assert abs(float(np.corrcoef(by_row, spy.sigma)[0, 1])) < 5 / math.sqrt(num)


def test_each_row_draws_its_noise_level_from_its_own_part_of_the_density() -> None:
    num = 64
    spy, _ = spied(num)
    low, high = SPEC.stages[1].training_range()
    edges = torch.arange(num + 1, dtype=torch.float64) / num
    between = WEIGHTINGS["edm"].draw(edges, low, high, SPEC.sigma_data[1])
    assert (spy.sigma >= between[:-1] * (1 - 1e-5)).all()
    assert (spy.sigma <= between[1:] * (1 + 1e-5)).all()


def test_conditions_are_dropped_at_their_rate_and_else_kept() -> None:
    num = 4000
    spy, _ = spied(num, drop=0.1)
    labels = torch.arange(num) % 3
    assert spy.condition is not None
    dropped = spy.condition == -1
    assert torch.equal(spy.condition[~dropped], labels[~dropped])
    assert abs(float(dropped.float().mean()) - 0.1) < 5 * math.sqrt(0.1 * 0.9 / num)
    for rate, expected in ((0.0, 0), (1.0, num)):
        condition = spied(num, drop=rate)[0].condition
        assert condition is not None
        assert int((condition == -1).sum()) == expected
    assert spied(8, labels=False)[0].condition is None


def test_a_stages_elbo_loss_counts_its_share_of_the_coefficients() -> None:
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    class PerCoefficient(Elbo):
        def stage_scale(self, share: float) -> float:
            return 1.0

    for stage, share in ((0, 1 / 4), (1, 1.0)):
        with_share, without = (
            stage_loss(Spy(), SPEC, stage, x, None, weighting, RowDraws((0,), range(16), 16))
            for weighting in (Elbo(), PerCoefficient())
        )
        torch.testing.assert_close(with_share, share * without)


@pytest.mark.parametrize("cuts", [(0, 40), (0, 16, 40), (0, 7, 8, 33, 40)])
def test_the_parts_of_a_batch_add_up_to_its_loss(cuts: tuple[int, ...]) -> None:
    x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    labels = torch.arange(40) % 3
    stack = small_stack(dropout=0.4)

    def loss(start: int, stop: int) -> float:
        draws = RowDraws((3,), range(start, stop), 40)
        part = (x[start:stop], labels[start:stop], WEIGHTINGS["edm"], draws)
        return float(stage_loss(stack, stack.spec, 1, *part).detach())

    parts = [loss(start, stop) for start, stop in pairwise(cuts)]
    assert sum(parts) == pytest.approx(loss(0, 40), rel=1e-6)
