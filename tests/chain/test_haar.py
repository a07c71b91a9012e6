"""The Haar transform as an orthogonal matrix, built by hand in the oracles."""

import pytest
import torch
from oracles import haar_matrices

from pipeline.chain.haar import details, low_pass, low_pass_to, merge

SHAPE = (2, 4, 6)


def pictures(num: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num, *SHAPE, generator=generator, dtype=torch.float64)


def test_low_and_high_pass_are_together_an_orthogonal_matrix() -> None:
    low, high = haar_matrices(SHAPE)
    eye = torch.eye(48, dtype=torch.float64)
    torch.testing.assert_close(low.T @ low + high.T @ high, eye)
    torch.testing.assert_close(low @ low.T, eye[:12, :12])
    torch.testing.assert_close(high @ high.T, eye[:36, :36])
    torch.testing.assert_close(low @ high.T, torch.zeros(12, 36, dtype=torch.float64))


def test_the_functions_are_these_matrices() -> None:
    x = pictures()
    low, high = haar_matrices(SHAPE)
    torch.testing.assert_close(low_pass(x).flatten(1), x.flatten(1) @ low.T)
    assert details(x).shape == (5, 3, 2, 2, 3)
    torch.testing.assert_close(details(x).flatten(1), x.flatten(1) @ high.T)


def test_merge_inverts_the_transform_both_ways() -> None:
    x = pictures()
    torch.testing.assert_close(merge(low_pass(x), details(x)), x)
    low, detail = x[:, :, :2, :3], torch.stack([x[:, :, :2, :3] * k for k in (2, 3, 5)], dim=1)
    merged = merge(low, detail)
    torch.testing.assert_close(low_pass(merged), low)
    torch.testing.assert_close(details(merged), detail)


def test_white_noise_stays_white_in_every_band() -> None:
    low, high = haar_matrices(SHAPE)
    bands = torch.cat((low, high))
    covariance = bands @ (2.5**2 * torch.eye(48, dtype=torch.float64)) @ bands.T
    torch.testing.assert_close(covariance, 2.5**2 * torch.eye(48, dtype=torch.float64))


def test_a_constant_pictures_amplitude_doubles_and_its_details_are_zero() -> None:
    x = torch.full((1, 1, 4, 4), 0.3)
    torch.testing.assert_close(low_pass(x), torch.full((1, 1, 2, 2), 0.6))
    assert details(x).abs().max() == 0


def test_low_pass_to_halves_until_the_height_is_reached() -> None:
    x = pictures()[:, :, :, :4]
    assert torch.equal(low_pass_to(x, 4), x)
    torch.testing.assert_close(low_pass_to(x, 1), low_pass(low_pass(x)))


@pytest.mark.parametrize(("height", "side"), [(6, 4), (6, 12), (6, 2)])
def test_a_height_that_halving_does_not_reach_is_refused(height: int, side: int) -> None:
    with pytest.raises(ValueError, match=r"even sides|not reached by halving"):
        low_pass_to(torch.zeros(1, 1, height, 8), side)
