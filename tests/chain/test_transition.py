"""The chain's transitions against exact Gaussian conditioning, as matrices in float64.

Each transition is affine in its noise. Feeding it basis vectors of noise gives its matrix, and so
the covariance of what it draws, exactly.
"""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import haar_matrices, sample_moments, standard_error_of_covariance
from torch import Tensor

from pipeline.chain.haar import details, low_pass, low_pass_to, merge
from pipeline.chain.noise import Purpose, keyed_normal
from pipeline.chain.schedule import Layer, Stage, build_schedule
from pipeline.chain.transition import (
    noise_down,
    posterior_mean,
    posterior_scale,
    raise_resolution,
    tuned_variance,
)

SAME = Layer(3, 0, 4, 4, 2.0, 0.7)
CHANGE = Layer(3, 0, 2, 4, 2.0, 0.7)
LAST = Layer(9, 0, 4, 4, 0.3, 0.0)
SHAPE = (2, 4, 4)
layers = pytest.mark.parametrize("layer", [SAME, CHANGE], ids=["same", "change"])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def low_matrix(layer: Layer) -> Tensor:
    """``z_{t-1}``'s resolution from ``z_t``'s: L, or the identity."""
    return haar_matrices(SHAPE)[0] if layer.changes_resolution else torch.eye(32).double()


def coarse_shape(layer: Layer) -> tuple[int, ...]:
    return (2, layer.side_from, layer.side_from)


def sample_posterior(
    z: Tensor, x: Tensor, layer: Layer, eps: Tensor, eps_detail: Tensor | None
) -> Tensor:
    """A draw of ``z_t ~ q(z_t | z_{t-1}, x)``, with ``x`` low-passed to level t's resolution."""
    spread = math.sqrt(posterior_scale(layer).variance) * eps
    if eps_detail is None:
        return posterior_mean(z, x, layer) + spread
    low = posterior_mean(z, low_pass(x), layer) + spread
    return merge(low, details(x) + layer.sigma_to * eps_detail)


def posterior_map(layer: Layer, x: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """``sample_posterior`` without noise as a function of z, and its noise's matrix."""
    coarse = coarse_shape(layer)
    size = math.prod(coarse)
    total = 32 if layer.changes_resolution else size

    def draw(z: Tensor, noise: Tensor) -> Tensor:
        num = len(noise)
        eps, eps_detail = noise[:, :size].reshape(num, *coarse), None
        if layer.changes_resolution:
            eps_detail = noise[:, size:].reshape(num, 3, *coarse)
        return sample_posterior(
            z.expand(num, *coarse), x.expand(num, *SHAPE), layer, eps, eps_detail
        )

    centre = draw(torch.zeros(1, *coarse).double(), torch.zeros(1, total).double())
    spread = draw(torch.zeros(1, *coarse).double(), torch.eye(total).double()) - centre
    return lambda z: draw(z, torch.zeros(1, total).double()), spread.flatten(1).T


@layers
def test_the_posterior_is_exact_gaussian_conditioning(layer: Layer) -> None:
    x, z = random(1, *SHAPE, seed=1), random(1, *coarse_shape(layer), seed=2)
    down = low_matrix(layer)
    # Given x: Var z_t = s_t^2 I, Var z_{t-1} = s_{t-1}^2 I, Cov(z_t, z_{t-1}) = s_t^2 down^T.
    joint = layer.sigma_to**2 * down.T
    gain = joint @ torch.linalg.inv(layer.sigma_from**2 * torch.eye(len(down)).double())
    mean = x.flatten() + gain @ (z.flatten() - down @ x.flatten())
    covariance = layer.sigma_to**2 * torch.eye(32).double() - gain @ joint.T
    centre, spread = posterior_map(layer, x)
    torch.testing.assert_close(centre(z).flatten(), mean)
    torch.testing.assert_close(spread @ spread.T, covariance)


@layers
def test_marginal_then_posterior_is_the_same_joint_as_marginal_then_noise(layer: Layer) -> None:
    x = random(1, *SHAPE, seed=3)
    down = low_matrix(layer)
    small = len(down)
    # Upwards: z_{t-1} = x_{r} + s_{t-1} e1, then z_t ~ q(. | z_{t-1}, x).
    centre, spread = posterior_map(layer, x)
    start = (down @ x.flatten()).reshape(1, *coarse_shape(layer))
    columns = []
    for unit in torch.eye(small).double():
        moved = start + layer.sigma_from * unit.reshape(start.shape)
        columns.append((centre(moved) - centre(start)).flatten())
    response = torch.stack(columns, dim=1)
    up = torch.cat(
        (
            torch.cat((layer.sigma_from * torch.eye(small).double(), torch.zeros(small, 32)), 1),
            torch.cat((response, spread), 1),
        )
    )
    torch.testing.assert_close(centre(start).flatten(), x.flatten())
    # Downwards: z_t = x + s_t e1, then one layer of noise.
    zero = torch.zeros(1, *coarse_shape(layer)).double()
    base = noise_down(x, layer, zero)
    torch.testing.assert_close(base, start)
    by_z = torch.stack(
        [
            (noise_down(x + layer.sigma_to * e.reshape(x.shape), layer, zero) - base).flatten()
            for e in torch.eye(32).double()
        ],
        dim=1,
    )
    by_eps = torch.stack(
        [
            (noise_down(x, layer, e.reshape(zero.shape)) - base).flatten()
            for e in torch.eye(small).double()
        ],
        dim=1,
    )
    below = torch.cat((by_z, by_eps), 1)
    above = torch.cat((layer.sigma_to * torch.eye(32).double(), torch.zeros(32, small)), 1)
    joint = torch.cat((below, above))
    torch.testing.assert_close(up @ up.T, joint @ joint.T)


def test_noise_added_layer_by_layer_gives_the_marginal_at_every_level() -> None:
    stages = (Stage(1, 30.0, 3.0), Stage(2, 3.0, 0.8), Stage(4, 0.8, 0.1))
    schedule = build_schedule(stages, (3, 3, 4))
    num, shape = 4000, (1, 4, 4)
    x = random(1, *shape, seed=4)
    z = x.expand(num, *shape)
    seeds, rows = torch.full((num,), 11), torch.arange(num)
    for layer in reversed(schedule.layers):
        small = (1, layer.side_from, layer.side_from)
        eps = keyed_normal(seeds, rows, layer.index, Purpose.STEP, small).double()
        z = noise_down(z, layer, eps)
        expected = low_pass_to(x, layer.side_from).flatten()
        size, variance = expected.numel(), layer.sigma_from**2
        covariance = variance * torch.eye(size).double()
        mean, found = sample_moments(z)
        assert ((mean - expected).abs() < 5 * math.sqrt(variance / num)).all(), layer
        error = (found - covariance).abs() / standard_error_of_covariance(covariance, num)
        assert error.max() < 5, layer


def test_the_posterior_of_a_picture_follows_the_marginals_up_the_chain() -> None:
    """Sampling every posterior in turn from pure noise ends at the picture itself."""
    stages = (Stage(2, 30.0, 2.0), Stage(4, 2.0, 0.1))
    schedule = build_schedule(stages, (4, 4))
    num = 2000
    x = random(1, 1, 4, 4, seed=5).expand(num, 1, 4, 4)
    seeds, rows = torch.full((num,), 2), torch.arange(num)
    z = low_pass_to(x, 2) + 30 * keyed_normal(seeds, rows, 0, Purpose.PRIOR, (1, 2, 2)).double()
    for layer in schedule.layers:
        small = (1, layer.side_from, layer.side_from)
        eps = keyed_normal(seeds, rows, layer.index, Purpose.STEP, small).double()
        detail = None
        if layer.changes_resolution:
            detail = keyed_normal(seeds, rows, layer.index, Purpose.DETAIL, (3, *small)).double()
        z = sample_posterior(z, low_pass_to(x, layer.side_to), layer, eps, detail)
        residual = z - low_pass_to(x, layer.side_to)
        covariance = layer.sigma_to**2 * torch.eye(residual[0].numel()).double()
        _, found = sample_moments(residual)
        if layer.sigma_to > 0:
            error = (found - covariance).abs() / standard_error_of_covariance(covariance, num)
            assert error.max() < 5, layer
    torch.testing.assert_close(z, x)


def test_the_decoder_raises_the_resolution_with_the_datas_own_details() -> None:
    tau2 = torch.tensor([[0.5, 0.1], [2.0, 0.0], [0.3, 0.7]], dtype=torch.float64)
    low = random(1, 2, 2, 2)
    zero = torch.zeros(1, 3, 2, 2, 2).double()
    centre = raise_resolution(low, CHANGE, tau2, zero).flatten()
    down, high = haar_matrices(SHAPE)
    torch.testing.assert_close(centre, down.T @ low.flatten())
    units = torch.eye(24).double().reshape(24, 3, 2, 2, 2)
    spread = raise_resolution(low.expand(24, 2, 2, 2), CHANGE, tau2, units).flatten(1) - centre
    bands = high @ spread.T @ spread @ high.T
    expected = (CHANGE.sigma_to**2 + tau2).reshape(-1).repeat_interleave(4)
    torch.testing.assert_close(bands, torch.diag(expected))


@given(st.floats(1e-3, 1e3), st.floats(1.01, 100), st.floats(0, 1e3))
def test_tuned_variance_is_the_designs_formula(sigma_to: float, ratio: float, error: float) -> None:
    layer = Layer(1, 0, 4, 4, sigma_to * ratio, sigma_to)
    beta = posterior_scale(layer).variance
    formula = beta * (1 + (1 / layer.sigma_to**2 - 1 / layer.sigma_from**2) * error)
    assert tuned_variance(layer, error) == pytest.approx(formula, rel=1e-9)


def test_the_last_layer_gives_the_denoised_picture_and_keeps_a_finite_tuned_variance() -> None:
    scale = posterior_scale(LAST)
    assert (scale.rho, scale.variance) == (0, 0)
    z, x = random(1, *SHAPE), random(1, *SHAPE, seed=1)
    assert torch.equal(posterior_mean(z, x, LAST), x)
    assert tuned_variance(LAST, 0.04) == 0.04
