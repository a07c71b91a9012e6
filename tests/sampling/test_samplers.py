"""The samplers on Gaussian data, where the denoiser and the result are known exactly."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import (
    Gaussian,
    GaussianStack,
    covariance_matrix,
    sample_moments,
    standard_error_of_covariance,
    with_blind_details,
)
from scipy import stats
from small_stack import SPEC
from torch import Tensor

from pipeline.chain.haar import details
from pipeline.chain.noise import Purpose, keyed_normal
from pipeline.chain.schedule import Layer, Schedule, Stage, build_schedule
from pipeline.likelihood import discretised_density
from pipeline.pictures import from_signed
from pipeline.sampling.base import History, SampleKeys, Sampler, walk
from pipeline.sampling.samplers import SAMPLERS
from pipeline.stack_spec import ErrorCurve

# 2x2 and 4x4: the data's details have the law that the stack gives them, with a variance a band
COARSE = Gaussian(
    (1, 2, 2),
    torch.tensor([1.0, -0.5, 0.0, 2.0], dtype=torch.float64),
    covariance_matrix([4.0, 1.0, 0.3, 0.05], seed=0),
)
FINE = with_blind_details(COARSE, torch.tensor([[0.3], [0.15], [0.04]], dtype=torch.float64))
EXACT = GaussianStack.of(FINE, 2)
STAGES = (Stage(2, 200.0, 1.5), Stage(4, 1.5, 0.005))


def levels(
    stack: GaussianStack, schedule: Schedule, sampler: Sampler, num: int, seed: int = 0
) -> list[Tensor]:
    rows = SampleKeys(np.full(num, seed), np.arange(num))
    return list(
        walk(
            stack,
            schedule,
            sampler,
            rows,
            None,
            picture_shape=stack.picture_shape,
            tau2_after=stack.tau2_after,
            dtype=torch.float64,
        )
    )


def ancestral(stack: GaussianStack, name: str) -> tuple[Sampler, Callable[[Layer], float]]:
    """The sampler of that name for a stack with the exact error curves, and its true variance."""
    if name == "ddpm":
        return SAMPLERS[name].build(SPEC), stack.posterior
    curves = []
    for here, stage in zip(stack.stages, STAGES, strict=True):
        grid = np.geomspace(stage.sigma_low, stage.sigma_high, 400)
        errors = tuple(here.mean_squared_error(sigma) for sigma in grid)
        curves.append(ErrorCurve(tuple(np.log(grid)), errors))
    return SAMPLERS[name].build(replace(SPEC, errors=tuple(curves))), stack.tuned


@pytest.mark.parametrize("name", ["ancestral", "ddpm"])
def test_ancestral_samples_have_the_moments_of_the_chain_across_a_resolution_change(
    name: str,
) -> None:
    """Of the bound's own decoders for `ancestral`, exact denoisers of a random full covariance."""
    schedule = build_schedule(STAGES, (8, 9))
    sampler, variance = ancestral(EXACT, name)
    mean, covariance = EXACT.ancestral_moments(schedule, variance)
    num = 4000
    *_, pictures = levels(EXACT, schedule, sampler, num)
    found_mean, found = sample_moments(pictures)
    assert ((found_mean - mean).abs() < 5 * (covariance.diagonal() / num).sqrt()).all()
    error = (found - covariance).abs() / standard_error_of_covariance(covariance, num)
    assert error.max() < 5
    # The test has power: with the other variance the trace lies far off, in standard errors.
    other = EXACT.posterior if name == "ancestral" else EXACT.tuned
    off = EXACT.ancestral_moments(schedule, other)[1].trace() - covariance.trace()
    assert abs(off) > 20 * (2 * covariance.square().sum() / num).sqrt()


def test_the_tuned_variance_loses_less_of_the_datas_variance_than_the_posteriors() -> None:
    schedule = build_schedule(STAGES, (8, 9))
    tuned, fixed = (
        float(EXACT.ancestral_moments(schedule, v)[1].trace())
        for v in (EXACT.tuned, EXACT.posterior)
    )
    data = float(FINE.covariance.trace())
    assert fixed / data < 0.6 < 0.8 < tuned / data < 1


@pytest.mark.parametrize("x_hat", [-1.01, -0.3, 0.5])
def test_the_last_draw_of_the_chain_has_the_law_of_the_bounds_reconstruction(x_hat: float) -> None:
    """Levels as stored, counted: the discretised density of 8-bit pixels, edges and all."""
    spec, last, num = (
        replace(SPEC, errors=(ErrorCurve((0.0,), (0.01**2,)),)),
        Layer(9, 0, 1, 1, 0.05, 0.0),
        20_000,
    )
    rows = SampleKeys(np.zeros(num, np.int64), np.arange(num))
    z = torch.full((num, 1, 1, 1), x_hat)
    drawn, _ = SAMPLERS["ancestral"].build(spec).step(z, last, lambda z, _: z, rows, None)
    counts = np.bincount(from_signed(drawn).ravel(), minlength=256)
    every = torch.arange(256).reshape(-1, 1, 1, 1) / 127.5 - 1
    density = discretised_density(every, torch.full_like(every, x_hat), 0.01**2)
    expected = num * np.exp(-density.numpy())
    likely = expected > 5
    assert (
        stats.chisquare(
            np.append(counts[likely], counts[~likely].sum()),
            np.append(expected[likely], expected[~likely].sum()),
        ).pvalue
        > 1e-3
    )


def test_the_chains_moments_approach_the_datas_as_one_over_the_number_of_layers() -> None:
    """The data's covariance, mean and all, is the limit; four times the layers, a fourth off."""
    stages = (Stage(2, 1000.0, 1.5), Stage(4, 1.5, 1e-3))
    off = []
    for num_layers in (64, 256, 1024):
        half = num_layers // 2
        schedule = build_schedule(stages, (half, half), rho=None)
        mean, covariance = EXACT.ancestral_moments(schedule, EXACT.posterior)
        off.append(float((covariance - FINE.covariance).norm() / FINE.covariance.norm()))
        assert float((mean - FINE.mean).norm() / FINE.mean.norm()) < 1e-4
    assert off[-1] < 0.02
    assert off[0] / off[1] == pytest.approx(4, rel=0.2)
    assert off[1] / off[2] == pytest.approx(4, rel=0.2)


def test_details_that_depend_on_the_low_band_are_what_the_stack_cannot_draw() -> None:
    """The counterexample to `with_blind_details`: the error stays however many the layers."""
    data = Gaussian((1, 2, 2), torch.zeros(4).double(), covariance_matrix([4, 1, 0.3, 0.05], 1))
    stack = GaussianStack.of(data, 2)
    stages = (Stage(1, 1000.0, 0.5), Stage(2, 0.5, 1e-3))
    off = [
        float(
            (
                stack.ancestral_moments(build_schedule(stages, (n, n)), stack.posterior)[1]
                - data.covariance
            ).norm()
        )
        for n in (256, 1024)
    ]
    assert off[1] > 0.8 * off[0]
    assert off[1] > 0.05


ONE_STAGE = (Stage(4, 20.0, 0.05),)
STEPS = (24, 48, 96, 192)


def error_at_the_lowest_noise(sampler: Sampler, num_steps: int) -> float:
    """RMS distance from the exact flow at sigma_low, where the last layer, to 0, begins."""
    single = GaussianStack((FINE,))
    schedule = build_schedule(ONE_STAGE, (num_steps + 1,))
    z = levels(single, schedule, sampler, 32)
    exact = FINE.flow(z[0], 20.0, 0.05)
    return float((z[-2] - exact).square().mean().sqrt())


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_deterministic_samplers_converge_to_the_exact_flow_at_their_order(
    name: str, order: int
) -> None:
    errors = [error_at_the_lowest_noise(SAMPLERS[name].build(SPEC), n) for n in STEPS]
    slope = -np.polyfit(np.log(STEPS), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.2)
    assert errors[-1] < (0.05 if order == 1 else 0.002)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m"])
def test_the_last_layer_gives_the_denoised_picture(name: str) -> None:
    single = GaussianStack((FINE,))
    z = levels(single, build_schedule(ONE_STAGE, (8,)), SAMPLERS[name].build(SPEC), 4)
    expected = FINE.denoise(z[-2], torch.full((4,), 0.05))
    torch.testing.assert_close(z[-1], expected)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m"])
def test_deterministic_samplers_draw_the_datas_covariance_across_a_resolution_change(
    name: str,
) -> None:
    """Linear in (z_0, details): the map's matrix gives the covariance without Monte Carlo."""
    schedule = build_schedule(STAGES, (60, 60))
    sampler = SAMPLERS[name].build(SPEC)
    spread = covariance_through(schedule, sampler)
    relative = float((spread - FINE.covariance).norm() / FINE.covariance.norm())
    assert relative < (0.08 if name == "ddim" else 0.01)


class _UnitNoise(SampleKeys):
    """Keys whose normal draws are the columns of the identity, one purpose after the other."""

    def normal(self, layer: int, purpose: Purpose, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        out = torch.zeros(len(self.seeds), math.prod(shape), dtype=torch.float64)
        # the last row is the centre, all zeros; rows 0-3 excite z_0 and rows 4-15 the details
        first = 0 if purpose == Purpose.PRIOR else 4
        for i in range(out.shape[1]):
            out[first + i, i] = 1
        return out.reshape(-1, *shape)


def covariance_through(schedule: Schedule, sampler: Sampler) -> Tensor:
    *_, pictures = walk(
        EXACT,
        schedule,
        sampler,
        _UnitNoise(np.zeros(17, np.int64), np.arange(17)),
        None,
        picture_shape=EXACT.picture_shape,
        tau2_after=EXACT.tau2_after,
        dtype=torch.float64,
    )
    response = (pictures[:16] - pictures[16]).flatten(1)
    return response.T @ response


class _Spy(Sampler):
    """Remembers in `History` what it saw, and does nothing else."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float | None]] = []

    def step(
        self,
        z: Tensor,
        layer: Layer,
        denoise: Callable[[Tensor, float], Tensor],
        keys: SampleKeys,
        history: History | None,
    ) -> tuple[Tensor, History | None]:
        self.seen.append((layer.index, None if history is None else history.sigma))
        return denoise(z, layer.sigma_from), History(layer.sigma_from, z)


def test_history_is_handed_on_within_a_stage_and_forgotten_at_a_change() -> None:
    schedule = build_schedule(STAGES, (3, 4))
    spy = _Spy()
    shapes = [tuple(z.shape) for z in levels(EXACT, schedule, spy, 2)]
    sigma = schedule.sigmas
    assert spy.seen == [
        (1, None), (2, sigma[0]), (3, sigma[1]),
        (4, None), (5, sigma[3]), (6, sigma[4]), (7, sigma[5]),
    ]  # fmt: skip
    assert shapes == [(2, 1, 2, 2)] * 3 + [(2, 1, 4, 4)] * 5


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_every_sampler_draws_the_same_details_at_a_change(name: str) -> None:
    """The detail bands are keyed noise of their own: no sampler adds to them or shares a draw."""
    schedule = build_schedule(STAGES, (3, 4))
    z = levels(EXACT, schedule, SAMPLERS[name].build(SPEC), 3, seed=9)
    eps = keyed_normal([9] * 3, [0, 1, 2], 3, Purpose.DETAIL, (3, 1, 2, 2)).double()
    scale = (1.5**2 + EXACT.tau2_after(0)).sqrt()[None, :, :, None, None]
    torch.testing.assert_close(details(z[3]), scale * eps)
