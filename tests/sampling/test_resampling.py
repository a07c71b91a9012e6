"""Resampling around known pixels of Gaussian pictures, whose conditional law is known exactly."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from inpainting_oracle import Moments, ancestral, conditional, moments_around, of_sampler
from oracles import (
    Gaussian,
    GaussianStack,
    covariance_matrix,
    sample_moments,
    standard_error_of_covariance,
    with_blind_details,
)
from small_stack import SPEC
from torch import Tensor

from pipeline.chain.haar import details, low_pass
from pipeline.chain.noise import Purpose
from pipeline.chain.schedule import Layer, Schedule, Stage, build_schedule
from pipeline.sampling.base import SampleKeys, Sampler
from pipeline.sampling.known import KnownPixels
from pipeline.sampling.moments import GivenPixels
from pipeline.sampling.resampling import MOST_REPETITIONS, RepeatedKeys, walk_around
from pipeline.sampling.samplers import SAMPLERS
from pipeline.stack_spec import ErrorCurve

COARSE = Gaussian(
    (1, 2, 2),
    torch.tensor([1.0, -0.5, 0.0, 2.0], dtype=torch.float64),
    covariance_matrix([4.0, 1.0, 0.3, 0.05], seed=0),
)
FINE = with_blind_details(COARSE, torch.tensor([[0.3], [0.15], [0.04]], dtype=torch.float64))
EXACT = GaussianStack.of(FINE, 2)
STAGES = (Stage(2, 200.0, 1.5), Stage(4, 1.5, 0.005))
# One block is wholly known, two in part, one not at all.
MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]], dtype=torch.bool)
X = FINE.draw(1, seed=5)[0, 0]
TRUTH = conditional(FINE, X, MASK)
UNKNOWN = ~MASK.flatten()


def sampler_of(name: str) -> Sampler:
    """With the exact error curves, so that the variance of `ancestral` is `GaussianStack.tuned`."""
    curves = []
    for here, stage in zip(EXACT.stages, STAGES, strict=True):
        grid = np.geomspace(stage.sigma_low, stage.sigma_high, 400)
        errors = tuple(here.mean_squared_error(sigma) for sigma in grid)
        curves.append(ErrorCurve(tuple(np.log(grid)), errors))
    return SAMPLERS[name].build(replace(SPEC, errors=tuple(curves)))


def drawn(
    sampler: Sampler,
    schedule: Schedule,
    resample: int,
    num: int,
    mask: Tensor = MASK,
    moment_steps: int = 0,
) -> Tensor:
    known = KnownPixels(X.expand(num, 1, 4, 4), mask.expand(num, 1, 4, 4))
    *_, pictures = walk_around(
        known,
        GivenPixels(EXACT, known, moment_steps) if moment_steps else EXACT,
        schedule,
        sampler,
        SampleKeys(np.zeros(num, np.int64), np.arange(num)),
        None,
        resample=resample,
        picture_shape=EXACT.picture_shape,
        tau2_after=EXACT.tau2_after,
        dtype=torch.float64,
    )
    return pictures


def agree(pictures: Tensor, exact: Moments) -> bool:
    """Whether mean and covariance are the exact ones to five standard errors."""
    num = len(pictures)
    mean, covariance = sample_moments(pictures)
    far = (mean - exact.mean).abs() > 5 * (exact.covariance.diagonal() / num).sqrt() + 1e-12
    error = standard_error_of_covariance(exact.covariance, num)
    wide = (covariance - exact.covariance).abs() > 5 * error + 1e-12
    return not (far.any() or wide.any())


@pytest.mark.parametrize(
    ("name", "variance"), [("ancestral", EXACT.tuned), ("ddpm", EXACT.posterior)]
)
def test_what_is_drawn_has_the_moments_of_the_replaced_chain_across_a_resolution_change(
    name: str, variance: Callable[[Layer], float]
) -> None:
    schedule = build_schedule(STAGES, (4, 5))
    pictures = drawn(sampler_of(name), schedule, 3, 3000)
    layers = ancestral(EXACT, variance)
    assert agree(pictures, moments_around(EXACT, schedule, layers, X, MASK, 3))
    assert not agree(pictures, moments_around(EXACT, schedule, layers, X, MASK, 2))


def test_enough_resampling_draws_the_conditional_law_and_plain_replacement_does_not() -> None:
    schedule = build_schedule(STAGES, (4, 5))
    assert agree(drawn(sampler_of("ancestral"), schedule, 32, 400), TRUTH)
    assert not agree(drawn(sampler_of("ancestral"), schedule, 1, 400), TRUTH)


def biases(name: str, num_layers: int) -> tuple[list[float], list[float]]:
    """How far mean and covariance are off after 1, 4 and 16 repetitions, without Monte Carlo."""
    schedule = build_schedule(STAGES, (num_layers, num_layers))
    variances = {"ancestral": EXACT.tuned, "ddpm": EXACT.posterior}
    layers = (
        ancestral(EXACT, variances[name])
        if name in variances
        else of_sampler(EXACT, SAMPLERS[name].build(SPEC))
    )
    means, covariances = zip(
        *(moments_around(EXACT, schedule, layers, X, MASK, n).off(TRUTH, UNKNOWN) for n in TIMES),
        strict=True,
    )
    return list(means), list(covariances)


TIMES = (1, 4, 16)


def test_the_bias_falls_as_one_over_the_repetitions_and_that_of_plain_replacement_is_large() -> (
    None
):
    """The conditional law is the limit, by the source's own chain; docs have these numbers."""
    means, covariances = biases("ancestral", 40)
    assert means == pytest.approx([0.451, 0.158, 0.056], abs=1e-3)
    assert covariances == pytest.approx([0.293, 0.088, 0.022], abs=1e-3)
    (plain, *_), _ = biases("ancestral", 80)
    assert plain > 0.4  # more layers alone do not help


@pytest.mark.parametrize("name", ["ddim", "ddpm", "heun"])
def test_the_other_samplers_means_tend_to_the_conditional_ones_as_well(name: str) -> None:
    """The covariance by `heun` alone: in few layers `ddim` and `ddpm` draw too little or much."""
    (plain, _, often), (_, some, more) = biases(name, 10)
    assert plain > 0.5
    assert often < 0.12
    assert (more < 0.1) is (more < some) is (name == "heun")


BLOCKS = torch.tensor(
    [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=torch.bool
)  # each is known as a whole, or not at all


@pytest.mark.parametrize("name", ["heun", "ancestral"])
def test_a_denoiser_that_is_given_the_known_pixels_draws_the_conditional_law_without_resampling(
    name: str,
) -> None:
    schedule, truth = build_schedule(STAGES, (10, 10)), conditional(FINE, X, BLOCKS)
    assert agree(drawn(sampler_of(name), schedule, 1, 400, BLOCKS, moment_steps=8), truth)
    assert not agree(drawn(sampler_of(name), schedule, 1, 400, BLOCKS), truth)


def test_some_steps_give_the_conditional_mean_of_pictures_whose_known_pixels_hang_together() -> (
    None
):
    """A smooth field: ten repetitions leave the mean three times as far off as 16 steps do."""
    grid = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0)).double()
    smooth = (-torch.cdist(grid, grid).square() / 8).exp() + 1e-3 * torch.eye(64).double()
    field = GaussianStack((Gaussian((1, 8, 8), torch.zeros(64).double(), smooth),))
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4] = True
    x = field.data.draw(1, seed=3)[0, 0]
    truth, unknown = conditional(field.data, x, mask), ~mask.flatten()
    schedule = build_schedule((Stage(8, 40.0, 0.02),), (16,))
    layers = of_sampler(field, SAMPLERS["heun"].build(SPEC))
    resampled = moments_around(field, schedule, layers, x, mask, 10)
    keys = SampleKeys(np.zeros(200, np.int64), np.arange(200))
    known = KnownPixels(x.expand(200, 1, 8, 8), mask.expand(200, 1, 8, 8))
    *_, pictures = walk_around(
        known,
        GivenPixels(field, known, 16),
        schedule,
        SAMPLERS["heun"].build(SPEC),
        keys,
        None,
        resample=1,
        picture_shape=field.picture_shape,
        tau2_after=field.tau2_after,
        dtype=torch.float64,
    )
    spread = truth.covariance.diagonal()[unknown].mean().sqrt()

    def off(mean: Tensor) -> float:
        return float((mean - truth.mean)[unknown].square().mean().sqrt() / spread)

    assert off(sample_moments(pictures)[0]) < 0.17 < 0.34 < off(resampled.mean)


def test_known_pixels_come_out_exactly_and_a_coarse_one_is_known_where_all_its_pixels_are() -> None:
    pictures = drawn(SAMPLERS["ddpm"].build(SPEC), build_schedule(STAGES, (2, 3)), 2, 3)
    assert torch.equal(pictures[:, 0, MASK], X[MASK].expand(3, -1))
    assert not (pictures[:, 0, ~MASK] == X[~MASK]).any()
    known = KnownPixels(X.expand(2, 1, 4, 4), MASK.expand(2, 1, 4, 4))
    keys = SampleKeys(np.zeros(2, np.int64), np.arange(2))
    coarse = known.replace(torch.full((2, 1, 2, 2), 9.0, dtype=torch.float64), 0.0, 1, keys)
    expected = torch.full((2, 2), 9.0, dtype=torch.float64)
    expected[0, 0] = X[:2, :2].sum() / 2
    torch.testing.assert_close(coarse, expected.expand(2, 1, 2, 2))


def test_at_a_resolution_change_low_band_and_details_of_a_known_block_are_drawn_given_x() -> None:
    """``N(x_r, sigma^2)`` in each coefficient: the law of the posterior's detail bands too."""
    num, sigma = 4000, 1.5
    schedule = build_schedule(STAGES, (2, 3))
    keys = SampleKeys(np.zeros(num, np.int64), np.arange(num))
    known = KnownPixels(X.expand(num, 1, 4, 4), MASK.expand(num, 1, 4, 4))
    levels = walk_around(
        known,
        EXACT,
        schedule,
        SAMPLERS["ddim"].build(SPEC),
        keys,
        None,
        resample=2,
        picture_shape=EXACT.picture_shape,
        tau2_after=EXACT.tau2_after,
        dtype=torch.float64,
    )
    _, _, changed = (next(levels) for _ in range(3))
    block = torch.cat((low_pass(changed)[:, :, 0, 0], details(changed)[:, :, 0, 0, 0]), dim=1)
    x = X[None, None]
    exact = torch.cat((low_pass(x)[:, :, 0, 0], details(x)[:, :, 0, 0, 0]), dim=1)[0]
    mean, covariance = sample_moments(block)
    assert ((mean - exact).abs() < 5 * sigma / num**0.5).all()
    wanted = sigma**2 * torch.eye(4, dtype=torch.float64)
    assert ((covariance - wanted).abs() < 5 * standard_error_of_covariance(wanted, num)).all()


def test_repetitions_have_keys_of_their_own_and_the_first_has_the_plain_chains() -> None:
    rows, like = np.arange(3), torch.zeros(1)
    plain = SampleKeys(rows, rows)
    first, second, last = (RepeatedKeys(rows, rows, n) for n in (0, 1, MOST_REPETITIONS - 1))
    step, most = Purpose.STEP, 4096  # layers, of any options
    assert torch.equal(plain.normal(7, step, like, (4,)), first.normal(7, step, like, (4,)))
    other = [keys.normal(most, step, like, (4,)) for keys in (first, second, last)]
    assert len({tuple(draw.flatten().tolist()) for draw in other}) == 3
