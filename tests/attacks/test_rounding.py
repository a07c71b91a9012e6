"""Rounding to 8 bits: inside the ball and the box exactly, and close to what was found."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.attacks.base import Norm
from pipeline.attacks.rounding import to_stored, whole_levels
from pipeline.errors import UserError
from pipeline.formats.perturbation_set import in_ball, linf_levels, squared_l2_levels


def found_in_ball(
    seed: int, norm: Norm, eps_levels: int, spread: float
) -> tuple[torch.Tensor, np.ndarray]:
    """Float pictures in the ball and the box, as an attack gives them, and the clean ones."""
    generator = np.random.default_rng(seed)
    clean = generator.integers(0, 256, size=(6, 5, 4, 3), dtype=np.uint8)
    clean[0], clean[1] = 0, 255
    delta = generator.standard_normal(clean.shape) ** 3 * spread
    if norm is Norm.LINF:
        delta = delta.clip(-eps_levels, eps_levels)
    else:
        length = np.sqrt((delta**2).sum(axis=(1, 2, 3), keepdims=True))
        delta *= np.minimum(1, eps_levels / length)
    unit = ((clean + delta) / 255).clip(0, 1).astype(np.float32)
    return torch.from_numpy(np.moveaxis(unit, -1, 1).copy()), clean


@given(
    seed=st.integers(0, 10_000),
    norm=st.sampled_from(list(Norm)),
    eps_levels=st.integers(1, 400),
    spread=st.sampled_from([0.05, 1.0, 30.0, 1000.0]),
)
@settings(max_examples=200, deadline=None)
def test_the_stored_picture_is_in_the_ball_and_near_what_was_found(
    seed: int, norm: Norm, eps_levels: int, spread: float
) -> None:
    found, clean = found_in_ball(seed, norm, eps_levels, spread)
    stored, _ = to_stored(found, clean, norm, eps_levels)
    assert stored.dtype == np.uint8
    assert in_ball(clean, stored, norm, eps_levels).all()
    wanted = np.moveaxis(found.double().numpy(), 1, -1) * 255
    assert np.abs(stored - wanted).max() < (0.501 if norm is Norm.LINF else 1.001)


def test_linf_rounds_to_the_nearest_level() -> None:
    clean = np.full((1, 1, 4, 1), 100, np.uint8)
    found = torch.tensor([[[[100.4, 101.6, 98.2, 103.0]]]]) / 255
    stored, left = to_stored(found, clean, Norm.LINF, 3)
    assert stored.ravel().tolist() == [100, 102, 98, 103]
    assert left.tolist() == [False]


def test_what_lies_a_rounding_error_outside_comes_back_in() -> None:
    clean = np.full((1, 1, 2, 1), 100, np.uint8)
    found = torch.tensor([[[[103.6, 96.4]]]]) / 255
    stored, left = to_stored(found, clean, Norm.LINF, 3)
    assert stored.ravel().tolist() == [103, 97]
    assert left.tolist() == [True]


def test_l2_rounding_keeps_whole_levels_as_they_are() -> None:
    clean = np.full((1, 1, 3, 1), 100, np.uint8)
    found = torch.tensor([[[[103.0, 96.0, 100.0]]]]) / 255
    stored, left = to_stored(found, clean, Norm.L2, 5)
    assert stored.ravel().tolist() == [103, 96, 100]
    assert left.tolist() == [False]


def test_l2_rounding_says_when_the_nearest_levels_would_leave_the_ball() -> None:
    # Nine values of 0.6 levels have length 1.8; nine whole levels have length 3.
    clean = np.full((1, 3, 3, 1), 100, np.uint8)
    found = torch.full((1, 1, 3, 3), 100.6) / 255
    stored, left = to_stored(found, clean, Norm.L2, 2)
    assert left.tolist() == [True]
    # 1.8² = 3.24, so three values are raised and no more
    assert squared_l2_levels(clean, stored).tolist() == [3]


def test_l2_rounding_does_not_lose_a_change_thinner_than_half_a_level() -> None:
    # 10,000 values of 0.3 levels round to nothing, though the change is 30 levels long.
    clean = np.full((1, 100, 100, 1), 100, np.uint8)
    found = torch.full((1, 1, 100, 100), 100.3) / 255
    stored, left = to_stored(found, clean, Norm.L2, 30)
    assert left.tolist() == [False]
    assert 880 <= squared_l2_levels(clean, stored)[0] <= 900


def test_no_change_stays_no_change() -> None:
    clean = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    found = torch.from_numpy(np.moveaxis(clean, -1, 1).copy()).float() / 255
    for norm in Norm:
        stored, left = to_stored(found, clean, norm, 3)
        assert np.array_equal(stored, clean)
        assert not left.any()


def test_distances_are_counted_in_levels() -> None:
    clean = np.zeros((2, 2, 2, 1), np.uint8)
    stored = clean.copy()
    stored[0, 0, 0, 0], stored[0, 1, 1, 0], stored[1, 0, 1, 0] = 3, 4, 255
    assert linf_levels(clean, stored).tolist() == [4, 255]
    assert squared_l2_levels(clean, stored).tolist() == [25, 255 * 255]
    assert in_ball(clean, stored, "l2", 5).tolist() == [True, False]
    assert in_ball(stored, clean, "linf", 4).tolist() == [True, False]


@pytest.mark.parametrize(
    ("eps", "levels"),
    [(1 / 255, 1), (8 / 255, 8), (0.1, 25), (0.03, 7), (1.0, 255), (2.0, 510)],
)
def test_eps_counts_whole_levels_downwards(eps: float, levels: int) -> None:
    assert whole_levels(eps) == levels


@pytest.mark.parametrize("eps", [0.0, 0.0039, -1.0, float("nan"), float("inf")])
def test_eps_below_one_level_is_a_user_error(eps: float) -> None:
    with pytest.raises(UserError, match="less than one level"):
        whole_levels(eps)
