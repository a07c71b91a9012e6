"""Guidance and dynamic thresholding against their formulas."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.sampling.guidance import Guided

Z = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
SIGMA = torch.tensor([0.1, 1.0, 5.0, 50.0])
LABELS = torch.tensor([1, 2, -1, 3])
EVERYWHERE = (0.0, math.inf)


class Shift:
    """``x_hat = z + 10 c`` with a label of c, and z without one; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        self.calls += 1
        if condition is None:
            return z
        return z + 10 * condition.clamp_min(0)[:, None, None, None]


def guided(weight: float, interval: tuple[float, float] = EVERYWHERE) -> tuple[Guided, Shift]:
    denoiser = Shift()
    return Guided(denoiser, weight, interval, None, (1, 0)), denoiser


def test_weight_one_is_the_conditional_denoiser_at_one_call() -> None:
    guide, denoiser = guided(1.0)
    assert torch.equal(guide(0, Z, SIGMA, LABELS), Shift()(0, Z, SIGMA, LABELS))
    assert denoiser.calls == 1


def test_weight_zero_is_the_unconditional_denoiser() -> None:
    guide, _ = guided(0.0)
    torch.testing.assert_close(guide(0, Z, SIGMA, LABELS), Z)


def test_weight_three_goes_three_times_from_the_unconditional_to_the_conditional() -> None:
    guide, denoiser = guided(3.0)
    expected = Z + 30 * LABELS.clamp_min(0)[:, None, None, None]
    torch.testing.assert_close(guide(0, Z, SIGMA, LABELS), expected)
    assert denoiser.calls == 2


def test_without_a_condition_there_is_nothing_to_guide() -> None:
    guide, denoiser = guided(3.0)
    assert torch.equal(guide(0, Z, SIGMA, None), Z)
    assert denoiser.calls == 1


def test_guidance_acts_above_the_intervals_low_end_and_up_to_its_high_end() -> None:
    guide, _ = guided(2.0, (0.1, 5.0))
    labels = torch.tensor([1, 1, 1, 1])
    moved = (guide(0, Z, SIGMA, labels) - Z).mean(dim=(1, 2, 3)) / 10
    # sigma 0.1 is the open end, 5 the closed one; outside, the conditional denoiser stands alone
    torch.testing.assert_close(moved, torch.tensor([1.0, 2.0, 2.0, 1.0]))


@pytest.mark.parametrize(("stage", "bound"), [(0, 2.0), (1, 1.0)])
@pytest.mark.parametrize("percentile", [0.9, 0.995, 1.0])
def test_dynamic_thresholding_is_imagens_in_the_range_of_the_stage(
    stage: int, bound: float, percentile: float
) -> None:
    scales = torch.tensor([0.1, 0.5, 2.0, 8.0])[:, None, None, None]
    x = Z * scales
    guide = Guided(lambda stage, z, sigma, condition: z, 1.0, EVERYWHERE, percentile, (1, 0))
    found = guide(stage, x, SIGMA, None).numpy()
    for row, picture in zip(found, x.numpy(), strict=True):
        unit = picture / bound
        limit = max(1.0, np.quantile(np.abs(unit), percentile))
        np.testing.assert_allclose(
            row, np.clip(unit, -limit, limit) / limit * bound, rtol=1e-5, atol=1e-6
        )
    assert np.abs(found).max() <= bound * (1 + 1e-6)


def test_thresholding_leaves_pictures_within_the_range_as_they_are() -> None:
    x = Z / Z.abs().max()
    guide = Guided(lambda stage, z, sigma, condition: z, 1.0, EVERYWHERE, 1.0, (1, 0))
    torch.testing.assert_close(guide(1, x, SIGMA, None), x)
