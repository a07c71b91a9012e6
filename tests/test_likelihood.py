"""The bound against the true likelihood of Gaussian data, its estimate against the closed form."""

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
    gaussian_density,
    with_blind_details,
)
from scipy import stats
from small_stack import SPEC
from torch import Tensor

from pipeline.chain.haar import low_pass_to
from pipeline.chain.schedule import Layer, Schedule, Stage, build_schedule
from pipeline.chain.transition import posterior_scale
from pipeline.errors import UserError
from pipeline.likelihood import (
    Bound,
    discretised_density,
    estimate_bound,
)
from pipeline.stack_spec import ErrorCurve

# Eight dimensions in one resolution, and the same number across a change from 1x1 to 2x2.
PLAIN = Gaussian(
    (2, 2, 2),
    torch.tensor([0.5, -1, 0, 0.2, 1, 0, -0.3, 0.1], dtype=torch.float64),
    covariance_matrix([2.0, 1.5, 1.0, 0.8, 0.5, 0.3, 0.2, 0.1], seed=3),
)
COARSE = Gaussian(
    (2, 1, 1), torch.tensor([1.0, -0.5]).double(), covariance_matrix([3.0, 0.7], seed=4)
)
CHANGING = with_blind_details(COARSE, torch.tensor([[0.3, 0.2], [0.1, 0.4], [0.05, 0.2]]).double())
ONE = GaussianStack.of(PLAIN, 1)
TWO = GaussianStack.of(CHANGING, 2)
stacks = pytest.mark.parametrize("stack", [ONE, TWO], ids=["one stage", "two stages"])


def schedule_of(stack: GaussianStack, num_layers: int) -> Schedule:
    """From where only noise is left to where next to none is, at equal ratios."""
    if stack is ONE:
        return build_schedule((Stage(2, 1000.0, 1e-3),), (num_layers,), rho=None)
    stages = (Stage(1, 1000.0, 1.0), Stage(2, 1.0, 1e-3))
    return build_schedule(stages, (num_layers // 2, num_layers // 2), rho=None)


def expected(stack: GaussianStack, schedule: Schedule, variance: Callable[[Layer], float]) -> float:
    prior, layers, reconstruction = stack.expected_bound(schedule, variance)
    return prior + sum(layers) + reconstruction


def source_variance(stack: GaussianStack) -> Callable[[Layer], float]:
    """The posterior's own variance, and the error's in the last layer, where it has none."""
    return lambda layer: posterior_scale(layer).variance or stack.tuned(layer)


@stacks
def test_the_gap_to_the_true_likelihood_falls_as_one_over_the_number_of_layers(
    stack: GaussianStack,
) -> None:
    entropy = stack.data.entropy()
    gaps = [
        expected(stack, schedule_of(stack, n), source_variance(stack)) - entropy
        for n in (64, 256, 1024)
    ]
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.15)
    assert gaps[1] / gaps[2] == pytest.approx(4, rel=0.15)
    assert 0 < gaps[2] < 1.1  # nats, for eight dimensions


@stacks
@pytest.mark.parametrize("num_layers", [8, 64, 512])
def test_the_bound_is_a_bound_and_the_tuned_variance_makes_it_tighter(
    stack: GaussianStack, num_layers: int
) -> None:
    schedule = schedule_of(stack, num_layers)
    tuned = expected(stack, schedule, stack.tuned)
    fixed = expected(stack, schedule, source_variance(stack))
    assert stack.data.entropy() < tuned < fixed


@stacks
def test_with_few_layers_the_tuned_variance_saves_most_of_what_the_fixed_one_loses(
    stack: GaussianStack,
) -> None:
    schedule = schedule_of(stack, 16)
    entropy = stack.data.entropy()
    tuned = expected(stack, schedule, stack.tuned) - entropy
    fixed = expected(stack, schedule, source_variance(stack)) - entropy
    assert tuned < 0.2 * fixed


@stacks
@pytest.mark.parametrize("factor", [0.8, 0.97, 1.03, 1.25])
def test_no_other_variance_in_any_layer_is_better_in_expectation(
    stack: GaussianStack, factor: float
) -> None:
    schedule = schedule_of(stack, 12)
    best = expected(stack, schedule, stack.tuned)
    for perturbed in schedule.layers:

        def variance(layer: Layer, index: int = perturbed.index) -> float:
            return stack.tuned(layer) * (factor if layer.index == index else 1.0)

        assert expected(stack, schedule, variance) > best


def estimate(
    stack: GaussianStack,
    schedule: Schedule,
    x: Tensor,
    variance: Callable[[Layer], float],
    *,
    rows_per_layer: int | None = None,
    rows_per_call: int = 1000,
    seed: int = 0,
) -> Bound:
    return estimate_bound(
        stack,
        schedule,
        x,
        None,
        tau2_after=stack.tau2_after,
        variance=variance,
        reconstruction=gaussian_density,
        rows_per_layer=rows_per_layer,
        rows_per_call=rows_per_call,
        seed=seed,
    )


@stacks
@pytest.mark.parametrize("tuned", [True, False], ids=["tuned", "fixed"])
def test_the_estimate_agrees_with_the_closed_form_term_by_term(
    stack: GaussianStack, tuned: bool
) -> None:
    schedule = schedule_of(stack, 24)
    variance = stack.tuned if tuned else source_variance(stack)
    num = 2000
    bound = estimate(stack, schedule, stack.data.draw(num, seed=1), variance)
    prior, layers, reconstruction = stack.expected_bound(schedule, variance)
    nats = prior + sum(layers) + reconstruction
    assert abs(bound.nats - nats) < 5 * bound.standard_error
    assert len(bound.layers) == 23
    # each divergence is non-negative with a standard deviation of the order of its mean
    for found, exact in zip(bound.layers, layers, strict=True):
        assert found == pytest.approx(exact, rel=5 * 3 / math.sqrt(num), abs=1e-6)
    assert bound.prior == pytest.approx(prior, rel=5 * 3 / math.sqrt(num))
    assert bound.bits_per_dim == pytest.approx(bound.nats / 8 / math.log(2))


def test_the_estimate_lies_above_the_true_negative_log_likelihood_of_the_same_pictures() -> None:
    x = PLAIN.draw(1000, seed=2)
    truth = float(PLAIN.negative_log_density(x).mean())
    gaps = []
    for num_layers in (16, 64):
        bound = estimate(ONE, schedule_of(ONE, num_layers), x, source_variance(ONE))
        gaps.append(bound.nats - truth)
    assert gaps[0] > 2 * gaps[1] > 0


@stacks
@pytest.mark.parametrize("rows_per_layer", [None, 50])
def test_the_standard_error_is_that_of_estimates_over_fresh_pictures(
    stack: GaussianStack, rows_per_layer: int | None
) -> None:
    """A picture far from the mean errs in every layer: terms do not vary independently."""
    schedule = schedule_of(stack, 8)
    bounds = [
        estimate(
            stack,
            schedule,
            stack.data.draw(200, seed=i),
            stack.tuned,
            rows_per_layer=rows_per_layer,
            seed=i,
        )
        for i in range(60)
    ]
    spread = np.std([bound.nats for bound in bounds], ddof=1)
    stated = np.mean([bound.standard_error for bound in bounds])
    # a standard deviation from 60 draws has a relative standard error of 1 / sqrt(2 * 59) = 0.092
    assert spread / stated == pytest.approx(1, abs=5 * 0.092)
    exact = expected(stack, schedule, stack.tuned)
    assert abs(np.mean([b.nats for b in bounds]) - exact) < 5 * spread / math.sqrt(60)


def test_rows_drawn_for_each_layer_leave_the_estimate_unbiased() -> None:
    """Over many draws of rows, the mean is the estimate over all of them; the prior uses all."""
    stack, schedule = TWO, schedule_of(TWO, 6)
    x = stack.data.draw(40, seed=0)
    whole = [estimate(stack, schedule, x, stack.tuned, seed=i).nats for i in range(60)]
    parts = [
        estimate(stack, schedule, x, stack.tuned, seed=i, rows_per_layer=10).nats for i in range(60)
    ]
    error = math.sqrt((np.var(whole, ddof=1) + np.var(parts, ddof=1)) / 60)
    assert abs(np.mean(whole) - np.mean(parts)) < 5 * error


def test_the_estimate_does_not_depend_on_the_size_of_the_networks_batches() -> None:
    x = CHANGING.draw(30, seed=0)
    one, other = (
        estimate(TWO, schedule_of(TWO, 8), x, TWO.tuned, rows_per_call=rows) for rows in (7, 30)
    )
    assert one.nats == pytest.approx(other.nats, rel=1e-12)
    assert one.standard_error == pytest.approx(other.standard_error, rel=1e-9)


def test_from_one_row_a_layer_no_error_can_be_told() -> None:
    x = CHANGING.draw(30, seed=0)
    assert estimate(TWO, schedule_of(TWO, 8), x, TWO.tuned, rows_per_layer=1).standard_error == (
        math.inf
    )


def test_bits_per_dim_are_nats_over_coefficients_and_the_logarithm_of_two() -> None:
    """Eight bits for a pixel of which nothing is known, and one less for one known half."""
    bound = Bound(1.0, (2.0, 3.0), 12 * math.log(256) - 6.0, 0.6, 12, torch.zeros(1))
    assert bound.nats == pytest.approx(12 * math.log(256))
    assert bound.bits_per_dim == pytest.approx(8)
    assert bound.standard_error_bits_per_dim == pytest.approx(0.05 / math.log(2))


LEVELS = torch.arange(256, dtype=torch.float32) / 255 * 2 - 1
CASES = [(0.0, 0.5), (0.3, 0.01), (-1.0, 1e-4), (5.0, 0.3), (-40.0, 0.2), (0.1, 1e3), (0.99, 1e-6)]


def probabilities(mean: float, scale: float) -> np.ndarray:
    x = LEVELS.reshape(256, 1, 1, 1)
    return -discretised_density(x, torch.full_like(x, mean), scale**2).numpy()


@pytest.mark.parametrize(("mean", "scale"), CASES)
def test_the_probabilities_of_the_256_levels_sum_to_one(mean: float, scale: float) -> None:
    assert np.logaddexp.reduce(probabilities(mean, scale)) == pytest.approx(0, abs=1e-11)


@pytest.mark.parametrize(("mean", "scale"), CASES)
def test_level_probabilities_are_scipys_and_finite_far_in_the_tails(
    mean: float, scale: float
) -> None:
    mean32 = float(torch.tensor(mean))
    edges = (2 * np.arange(1, 256) - 1) / 255 - 1
    edges = np.concatenate(([-np.inf], edges, [np.inf]))
    lower, upper = (edges[:-1] - mean32) / scale, (edges[1:] - mean32) / scale
    # scipy's own differences in the nearer tail, in logarithms
    flip = lower + upper > 0
    a, b = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
    log_a, log_b = stats.norm.logcdf(a), stats.norm.logcdf(b)
    exact = log_b + np.log1p(-np.exp(log_a - log_b))
    found = probabilities(mean, scale)
    assert np.isfinite(found).all()
    assert (found <= 1e-12).all()
    np.testing.assert_allclose(found, exact, rtol=1e-7, atol=1e-9)
    plain = stats.norm.cdf(upper) - stats.norm.cdf(lower)
    near = plain > 1e-6
    np.testing.assert_allclose(np.exp(found[near]), plain[near], rtol=1e-6)


@pytest.mark.parametrize("mean", [1e6, -1e6, 3e9])
def test_a_wildly_wrong_mean_costs_much_and_never_nothing_or_nan(mean: float) -> None:
    found = probabilities(mean, 0.01)
    assert np.isfinite(found).all()
    assert found.min() < -1e10


def test_values_that_are_no_pixels_have_no_bound_in_bits() -> None:
    vectors = torch.linspace(-1, 1, 12).reshape(3, 4, 1, 1)
    with pytest.raises(UserError, match="vectors have none"):
        discretised_density(vectors, torch.zeros(3, 4, 1, 1), 0.1)
    pixels = (vectors * 127.5).round() / 127.5
    with pytest.raises(UserError, match="8-bit"):  # between levels, not at them
        discretised_density(pixels, torch.zeros(3, 4, 1, 1), 0.1)


def test_a_pictures_density_is_the_sum_over_its_pixels() -> None:
    x = LEVELS[:6].reshape(1, 1, 2, 3)
    mean = torch.linspace(-1, 0, 6).reshape(1, 1, 2, 3)
    single = [
        discretised_density(
            x.flatten()[[i], None, None, None], mean.flatten()[[i], None, None, None], 0.04
        )
        for i in range(6)
    ]
    torch.testing.assert_close(discretised_density(x, mean, 0.04), torch.stack(single).sum(dim=0))
    expected_nats = -stats.norm.logpdf(x.numpy(), mean.numpy(), 0.2).sum()
    assert float(gaussian_density(x, mean, 0.04)) == pytest.approx(expected_nats, rel=1e-5)


def test_a_stacks_tuned_variances_come_from_its_measured_errors() -> None:
    curve = ErrorCurve((math.log(0.01), math.log(50.0)), (0.04, 0.04))
    spec = replace(SPEC, errors=(curve, curve))
    variance = spec.decoder_variance
    last = Layer(9, 1, 8, 8, 0.02, 0.0)
    assert variance(last) == pytest.approx(0.04)
    layer = Layer(3, 0, 4, 4, 2.0, 1.0)
    assert variance(layer) == pytest.approx(1.0 * 0.75 + 0.75**2 * 0.04)


@pytest.mark.parametrize("condition", [None, torch.arange(30)])
def test_each_picture_keeps_its_own_condition(condition: Tensor | None) -> None:
    """A denoiser that is told the answer has no error in any layer but what the variance costs."""
    x = CHANGING.draw(30, seed=0)
    seen: list[Tensor | None] = []

    def told(stage: int, z: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
        seen.append(rows)
        if rows is None:
            return torch.zeros_like(z)
        truth = x[rows]
        return low_pass_to(truth, z.shape[-1])

    bound = estimate_bound(
        told,
        schedule_of(TWO, 8),
        x,
        condition,
        tau2_after=TWO.tau2_after,
        variance=lambda layer: posterior_scale(layer).variance or 1e-4,
        reconstruction=gaussian_density,
        rows_per_layer=11,
        rows_per_call=4,
    )
    if condition is None:
        assert set(seen) == {None}
        assert bound.layers[-1] > 0.1
    else:
        assert [abs(v) < 1e-12 for v in bound.layers].count(False) == 1  # the blind details
        assert bound.reconstruction == pytest.approx(4 * math.log(2 * math.pi * 1e-4))
