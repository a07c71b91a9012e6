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


def rescaled(rescale: float, interval: tuple[float, float] = EVERYWHERE) -> Tensor:
    """Guidance of weight 7 by two denoisers that differ in every pixel."""

    def denoise(stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        return z if condition is None else 3 * z.sin() + 0.2 * condition[:, None, None, None]

    return Guided(denoise, 7.0, interval, None, (1, 0), rescale)(0, Z, SIGMA, LABELS)


CONDITIONAL = 3 * Z.sin() + 0.2 * LABELS[:, None, None, None]


def test_at_rescale_one_each_row_has_the_standard_deviation_of_the_conditional_one() -> None:
    found, plain = rescaled(1.0), rescaled(0.0)
    spread = CONDITIONAL.flatten(1).std(dim=1)
    torch.testing.assert_close(found.flatten(1).std(dim=1), spread)
    assert (plain.flatten(1).std(dim=1) > 1.5 * spread).all()
    ratio = found / plain  # one factor a row, so all of a picture keeps its proportions
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio))


def test_rescale_zero_changes_no_bit_and_a_half_lies_in_the_middle() -> None:
    formula = Z + torch.full((4, 1, 1, 1), 7.0) * (CONDITIONAL - Z)
    assert torch.equal(rescaled(0.0), formula)
    torch.testing.assert_close(rescaled(0.5), (rescaled(0.0) + rescaled(1.0)) / 2)


def test_rescale_acts_where_guidance_does_and_a_flat_picture_stays_finite() -> None:
    torch.testing.assert_close(rescaled(1.0, (0.5, 5.0))[[0, 3]], CONDITIONAL[[0, 3]])
    flat = Guided(
        lambda stage, z, sigma, condition: torch.full_like(z, 0.0 if condition is None else 1.0),
        2.0,
        EVERYWHERE,
        None,
        (1, 0),
        1.0,
    )
    assert torch.equal(flat(0, Z, SIGMA, LABELS), torch.full_like(Z, 2.0))


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
