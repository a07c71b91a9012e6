"""The named weights: the density that noise levels are drawn from, and what each integral is."""

import math

import numpy as np
import pytest
import torch
from oracles import Gaussian, GaussianStack, covariance_matrix, with_blind_details
from scipy import stats
from torch import Tensor

from pipeline.chain.noise import Purpose, keyed_uniform
from pipeline.chain.schedule import Stage, build_schedule
from pipeline.training.weighting import WEIGHTINGS, Edm, Elbo, MinSnr, Uniform, Weighting

LOW, HIGH, SIGMA_D = 0.02, 5.0, 0.7
SIGMA = torch.tensor([0.02, 0.3, 0.7, 5.0], dtype=torch.float64)
GRID = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000


def cumulative(weighting: Weighting, sigma: Tensor, low: float, high: float) -> np.ndarray:
    """Of the density over sigma that the docstrings state."""
    if isinstance(weighting, Edm):
        law = stats.norm(math.log(0.6 * SIGMA_D), weighting.spread)
        start, end = law.cdf(math.log(low)), law.cdf(math.log(high))
        return np.asarray((law.cdf(sigma.log().numpy()) - start) / (end - start))
    return np.asarray((sigma / low).log().numpy() / math.log(high / low))


@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
def test_draws_lie_in_the_range_and_follow_the_density(name: str) -> None:
    weighting = WEIGHTINGS[name]
    uniform = keyed_uniform([0], [0], 0, Purpose.STEP, (5000,))[0]
    sigma = weighting.draw(uniform, LOW, HIGH, SIGMA_D)
    assert sigma.dtype == uniform.dtype
    assert sigma.min() >= LOW
    assert sigma.max() <= HIGH
    np.testing.assert_allclose(cumulative(weighting, sigma, LOW, HIGH), uniform, atol=1e-9)
    result = stats.kstest(
        sigma.numpy(), lambda s: cumulative(weighting, torch.tensor(s), LOW, HIGH)
    )
    assert result.pvalue > 1e-3


@pytest.mark.parametrize(("low", "high"), [(2000.0, 8000.0), (1e-7, 1e-5)])
def test_a_stage_far_from_the_centre_still_draws_over_its_whole_range(
    low: float, high: float
) -> None:
    """Mirrored in the upper tail, where the cumulative is 1 to rounding."""
    sigma = Edm(spread=0.7).draw(GRID, low, high, SIGMA_D)
    assert torch.isfinite(sigma).all()
    assert sigma.min() >= low
    assert sigma.max() <= high
    assert len(sigma.unique()) == len(GRID)
    law = stats.norm(math.log(0.6 * SIGMA_D), 0.7)
    # the density falls away from the centre: half the draws lie where half the mass is
    if low > SIGMA_D:
        middle = law.isf((law.sf(math.log(low)) + law.sf(math.log(high))) / 2)
    else:
        middle = law.ppf((law.cdf(math.log(low)) + law.cdf(math.log(high))) / 2)
    assert float(sigma.log().median()) == pytest.approx(middle, rel=1e-3)


@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
def test_the_ends_of_the_uniform_draw_are_no_accident(name: str) -> None:
    ends = torch.tensor([0.0, 1.0])  # float32 rounds (127 + 0.99999997) / 128 to 1
    sigma = WEIGHTINGS[name].draw(ends, LOW, HIGH, SIGMA_D)
    torch.testing.assert_close(sigma, torch.tensor([LOW, HIGH]), rtol=1e-5, atol=0.0)


def test_edms_weight_cancels_the_scale_of_the_networks_output() -> None:
    c_out = SIGMA * SIGMA_D / (SIGMA**2 + SIGMA_D**2).sqrt()
    weight = Edm().weight(SIGMA, LOW, HIGH, SIGMA_D)
    torch.testing.assert_close(weight * c_out**2, torch.ones(4, dtype=torch.float64))


def test_min_snr_is_the_signal_to_noise_ratio_up_to_gamma() -> None:
    snr = SIGMA_D**2 / SIGMA**2
    weight = MinSnr(gamma=5.0).weight(SIGMA, LOW, HIGH, SIGMA_D) * SIGMA_D**2
    torch.testing.assert_close(weight, torch.minimum(snr, torch.tensor(5.0).double()))
    assert weight.tolist()[:1] == [5.0]


def test_uniform_weighs_errors_in_units_of_the_datas_variance() -> None:
    weight = Uniform().weight(SIGMA, LOW, HIGH, SIGMA_D)
    torch.testing.assert_close(weight * SIGMA_D**2, torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("name", ["edm", "min_snr", "uniform"])
def test_only_the_bound_counts_stages_by_their_size(name: str) -> None:
    assert WEIGHTINGS[name].stage_scale(0.25) == 1
    assert WEIGHTINGS["elbo"].stage_scale(0.25) == 0.25


def test_elbos_losses_add_up_to_the_layers_of_a_bound_of_many_layers() -> None:
    """Of the exact denoisers, both in closed form; the blind details are no network's matter."""
    coarse = Gaussian((1, 2, 2), torch.zeros(4).double(), covariance_matrix([4, 1] * 2, seed=0))
    bands = torch.tensor([[0.3], [0.15], [0.04]], dtype=torch.float64)
    stack = GaussianStack.of(with_blind_details(coarse, bands), 2)
    stages = (Stage(2, 60.0, 2.0), Stage(4, 2.0, 0.05))
    losses = 0.0
    for here, stage in zip(stack.stages, stages, strict=True):
        low, high = Elbo().range(stage)
        sigma = Elbo().draw(GRID, low, high, SIGMA_D)
        errors = torch.tensor([here.mean_squared_error(float(s)) for s in sigma])
        weighted = (Elbo().weight(sigma, low, high, SIGMA_D) * errors).mean()
        losses += float(weighted) * Elbo().stage_scale(here.size / 16)
    _, layers, _ = stack.expected_bound(build_schedule(stages, (3000, 3001), rho=None), stack.tuned)
    share = 2.0**2 / (2.0**2 + bands)
    details = float((share - 1 - share.log() + bands / (2.0**2 + bands)).sum()) * 4 / 2
    assert losses == pytest.approx((sum(layers) - details) / 16, rel=2e-3)


@pytest.mark.parametrize("name", ["edm", "min_snr", "uniform"])
def test_other_weightings_train_a_little_beyond_their_stage(name: str) -> None:
    stage = Stage(4, 2.0, 0.05)
    assert WEIGHTINGS[name].range(stage) == stage.training_range()
