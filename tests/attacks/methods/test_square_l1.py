"""Square attack in L1: its bump by hand, what a step leaves as it was, and linear classifiers."""

from math import isclose

import pytest
import torch
from attack_driver import (
    FreeBall,
    moved_from,
)
from linear_models import TwoClassLinear, dual_norm

from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.square_l1 import SquareL1
from pipeline.attacks.methods.square_l2 import two_bumps

GREY = 120.0 / 255


def test_bumps_fall_off_with_the_fourth_power() -> None:
    def value(distance: int) -> float:
        return sum(1 / k**4 for k in range(distance + 1, 5))

    for r in range(6):
        for c in range(3):
            wanted = value(max(abs(r - 3), abs(c - 1)))
            assert float(two_bumps(6, 4)[r, c]) == pytest.approx(wanted)
            assert float(two_bumps(6, 4)[r, 3 + c]) == pytest.approx(-wanted)


@pytest.mark.parametrize("step", [1, 60, 700, 4500])
def test_a_step_moves_the_length_of_one_window_to_another_and_leaves_the_rest(step: int) -> None:
    ball = FreeBall(Norm.L1, 300)  # so short that no value comes to the box
    attack = SquareL1(ball)
    clean = torch.full((30, 1, 12, 12), GREY)
    generator = torch.Generator().manual_seed(step)
    change = torch.randn(clean.shape, generator=generator).sign()  # no value near 0
    change = change * (0.2 + torch.rand(clean.shape, generator=generator))
    change = 0.9 * ball.eps * change / change.flatten(1).abs().sum(dim=1)[:, None, None, None]
    moved = moved_from(clean + change, clean, attack, step)
    side = int(attack._odd_sides(torch.tensor([step]), clean)[0])
    for before, after in zip(change[:, 0], moved[:, 0], strict=True):
        other = (after - before).abs() > 1e-6
        empty = after.abs() < 1e-7
        assert side**2 <= int(other.sum()) <= 2 * side**2
        assert int(empty.sum()) == int(other.sum()) - side**2
        assert isclose(float(after.abs().sum()), ball.eps, rel_tol=1e-4)
        kept = float(before[other].abs().sum()) + 0.1 * ball.eps
        assert isclose(float(after[other].abs().sum()), kept, rel_tol=1e-3)


def test_with_channels_a_window_gets_more_than_the_radius_and_all_values_pay_alike() -> None:
    ball = FreeBall(Norm.L1, 1000)
    clean = torch.full((20, 3, 12, 12), GREY)
    generator = torch.Generator().manual_seed(0)
    change = torch.rand(clean.shape, generator=generator) + 0.5
    change = ball.eps * change / change.flatten(1).sum(dim=1)[:, None, None, None]
    moved = moved_from(clean + change, clean, SquareL1(ball), 700)
    for before, after in zip(change, moved, strict=True):
        assert isclose(float(after.abs().sum()), ball.eps, rel_tol=1e-4)
        # Outside the windows, what is left: one threshold is taken from every value.
        outside = ((after > 0) & (after < before)).flatten()
        fall = (before - after).flatten()[outside]
        torch.testing.assert_close(fall, fall.median().expand_as(fall), rtol=1e-3, atol=1e-6)
        assert int(outside.sum()) > 200


def test_a_linear_classifier_breaks_in_a_ball_little_larger_than_its_distance() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(1, 6, 6, generator=generator)
    x = torch.randint(100, 150, (1, 1, 6, 6), generator=generator).float() / 255
    x, y = x.repeat(3, 1, 1, 1), torch.ones(3, dtype=torch.int64)
    model = TwoClassLinear(weight, 0.0)
    model.bias = 0.8 - float(model.margin(x)[0])
    distance = 0.8 / dual_norm(weight, Norm.L1) * 255
    for part, broken in ((0.98, False), (2.5, True)):
        attack = SquareL1(Ball(Norm.L1, round(part * distance)), 400)
        found = attack_rows(attack, model, x, y, torch.arange(3), rows_per_call=3)
        assert found.broken.tolist() == [broken] * 3
        assert found.backwards.tolist() == [0] * 3
