import numpy as np
import pytest
import torch
from betrayer import Betrayer, ByBrightness
from blind_stack import STAGES, blind_stack
from oracles import GaussianStack
from small_stack import SPEC, small_stack

from pipeline.errors import UserError
from pipeline.smoothing.bases.opened import staged, with_null
from pipeline.smoothing.denoised import Denoised, OfDenoised, StagedDenoiser
from pipeline.smoothing.noise import DrawKeys


def staged_oracle() -> tuple[GaussianStack, StagedDenoiser]:
    stack = blind_stack()
    return stack, StagedDenoiser(stack, STAGES, stack.tau2_after)


@pytest.mark.parametrize("level", [0.05, 0.5, 1.0, 1.01, 2.0, 12.0])
def test_x_hat_is_the_posterior_mean_of_gaussian_data_on_both_sides_of_a_switch(
    level: float,
) -> None:
    stack, denoiser = staged_oracle()
    data = stack.data
    z = data.draw(5, seed=2) + level * torch.randn(5, 1, 4, 4, dtype=torch.float64)
    expected = data.denoise(z, torch.full((5,), level, dtype=torch.float64))
    torch.testing.assert_close(denoiser.x_hat(z, level), expected, rtol=1e-9, atol=1e-9)


def test_a_picture_in_0_to_1_is_denoised_at_twice_its_sigma_and_comes_back() -> None:
    stack, denoiser = staged_oracle()
    x = (stack.data.draw(4, seed=3).clamp(-0.9, 0.9) + 1) / 2
    expected = stack.data.denoise(2 * x - 1, torch.full((4,), 0.6, dtype=torch.float64))
    torch.testing.assert_close(
        Denoised(denoiser, 0.3)(x), ((expected + 1) / 2).clamp(0, 1), rtol=1e-9, atol=1e-9
    )


def betrayed(sigma: float, rows_per_call: int = 8) -> tuple[Betrayer, OfDenoised]:
    betrayer = Betrayer(0.0)
    denoiser = StagedDenoiser(betrayer, STAGES, lambda stage: torch.zeros(3, 1))
    identity = {"stack_sha256": "a" * 64}
    base = OfDenoised(
        Denoised(denoiser, sigma),
        ByBrightness(0.75),
        identity=identity,
        rows_per_call=rows_per_call,
    )
    return betrayer, base


def keys_of(num: int, draw: int = 0, seed: int = 0) -> DrawKeys:
    return DrawKeys(seed, np.arange(num), np.full(num, draw))


@pytest.mark.parametrize(("sigma", "stage", "side"), [(0.25, 1, 4), (0.5, 1, 4), (0.75, 0, 2)])
def test_the_denoiser_is_asked_once_at_exactly_sigma_and_never_about_a_label(
    sigma: float, stage: int, side: int
) -> None:
    betrayer, base = betrayed(sigma)
    base.answers(torch.full((8, 1, 4, 4), 0.5), keys_of(8))
    assert betrayer.conditions == [None]
    [(asked_stage, asked_side, level)] = betrayer.told
    assert (asked_stage, asked_side) == (stage, side)
    assert torch.equal(level, torch.full((8,), 2 * sigma))
    assert base.record() | {"side": side, "denoiser_passes": 1} == base.record()


def test_what_is_denoised_draws_nothing() -> None:
    stack = small_stack(rows_per_call=6)
    classifier = ByBrightness(0.75)
    base = OfDenoised(
        Denoised(staged(stack), 0.25), classifier, identity={}, rows_per_call=stack.rows_per_call
    )
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first, other = base.answers(x, keys_of(6)), base.answers(x, keys_of(6, draw=9, seed=4))
    assert np.array_equal(first, other)


@pytest.mark.parametrize("sigma", [0.009, 20.1, 300.0])
def test_a_sigma_that_no_stage_denoises_is_refused_with_the_range(sigma: float) -> None:
    with pytest.raises(UserError, match=r"sigma .* outside what the stack denoises, 0.01 to 20"):
        betrayed(sigma)


def test_a_conditional_stack_that_never_dropped_its_condition_is_refused() -> None:
    stack = small_stack()
    assert with_null(stack) is stack
    with torch.no_grad():
        stack.network_of(0).condition.null.zero_()
    with pytest.raises(UserError, match="never met its null condition"):
        with_null(stack)


def test_a_stack_without_a_condition_needs_no_null_vector() -> None:
    stack = small_stack(condition=type(SPEC.condition)("none", 0))
    with torch.no_grad():
        stack.network_of(0).condition.null.zero_()
    assert with_null(stack) is stack
