"""Gradient ascent against the analytic gradient of a logistic loss."""

import pytest
import torch
from attack_driver import FreeBall, drive, on_lattice
from linear_models import TwoClassLinear, classifier_with_margin
from torch import Tensor

from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.ascent import Ascent

ROWS = torch.tensor([3, 8])


def analytic_gradient(model: TwoClassLinear, x: Tensor) -> Tensor:
    """Of ℓ = log(1 + exp(-m)) of class 1: ``-w / (1 + exp(m))``."""
    return -model.weight / (1 + model.margin(x).exp()).reshape(-1, 1, 1, 1)


def test_the_first_step_is_alpha_times_the_gradient_itself() -> None:
    model, x, y = classifier_with_margin(0.7)
    # The whole box lies in the ball.
    _, states, _ = drive(Ascent(Ball(Norm.LINF, 255), 0.03), model, x, y)
    torch.testing.assert_close(
        states[1]["point"] - x, 0.03 * analytic_gradient(model, x), rtol=1e-4, atol=1e-7
    )
    expected = 0.03 * -model.weight / (1 + torch.exp(torch.tensor(0.7)))
    torch.testing.assert_close(states[1]["point"] - x, expected.expand_as(x), rtol=1e-4, atol=1e-7)


def test_the_second_gradient_is_taken_where_the_first_step_led() -> None:
    model, x, y = classifier_with_margin(0.2)
    asked, _, _ = drive(Ascent(FreeBall(Norm.LINF, 255), 0.02, 2), model, x, y)
    first = x + 0.02 * analytic_gradient(model, x)
    second = first + 0.02 * analytic_gradient(model, first)
    torch.testing.assert_close(asked[1], first)
    torch.testing.assert_close(asked[2], second)
    # On the lattice the second gradient is that of the nearest whole levels.
    asked, states, _ = drive(Ascent(Ball(Norm.LINF, 255), 0.02, 2), model, x, y)
    assert torch.equal(asked[1], on_lattice(states[1]["point"]))
    second = first + 0.02 * analytic_gradient(model, on_lattice(first))
    torch.testing.assert_close(states[2]["point"], second)


def test_a_step_out_of_the_box_ends_at_it() -> None:
    model, x, y = classifier_with_margin(0.7)
    _, states, _ = drive(Ascent(Ball(Norm.LINF, 255), 10.0), model, x, y)
    free = x + 10.0 * analytic_gradient(model, x)
    assert free.min() < 0
    assert free.max() > 1
    torch.testing.assert_close(states[1]["point"], free.clamp(0, 1))


@pytest.mark.parametrize("norm", list(Norm))
def test_a_step_out_of_the_ball_ends_at_its_nearest_point(norm: Norm) -> None:
    model, x, y = classifier_with_margin(0.7)
    ball = Ball(norm, 20)
    asked, states, _ = drive(Ascent(ball, 1.0), model, x, y)
    nearest = ball.project(x + analytic_gradient(model, x), x)
    torch.testing.assert_close(states[1]["point"], nearest)
    length = torch.linalg.vector_norm(
        (states[1]["point"] - x).flatten(1),
        ord={Norm.LINF: torch.inf, Norm.L2: 2, Norm.L1: 1}[norm],
        dim=1,
    )
    torch.testing.assert_close(length, torch.full((2,), ball.eps), rtol=1e-4, atol=0)
    assert ball.contains(asked[1], x).all()


def test_a_sure_classifier_is_hardly_moved() -> None:
    # At a margin of 12 the gradient is e^-12 of w: a step that breaks at 0.5 rounds to nothing.
    broken = []
    for margin in (0.5, 12.0):
        model, x, y = classifier_with_margin(margin)
        found = attack_rows(Ascent(Ball(Norm.L2, 100), 0.2, 3), model, x, y, ROWS, rows_per_call=2)
        broken.append(found.broken.tolist())
        assert torch.equal(found.adversarial, x) == (margin == 12.0)
    assert broken == [[True] * 2, [False] * 2]
    assert found.forwards.tolist() == [1 + 4] * 2  # the last is a look, without a gradient
    assert found.backwards.tolist() == [3] * 2
