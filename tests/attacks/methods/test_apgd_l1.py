"""Auto-PGD in L1: its step by hand, and linear classifiers, whose worst picture is known."""

import pytest
import torch
from attack_driver import conv_network, drive, lattice_pictures
from linear_models import classifier_with_margin, dual_norm

from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.apgd_l1 import ApgdL1, steepest
from pipeline.errors import UserError
from pipeline.perturbation_terms import MARGIN


def test_the_steepest_values_share_a_length_of_one() -> None:
    gradient = torch.tensor([[3.0, -5.0, 0.5, 0.0], [1.0, 1.0, -1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    found = steepest(gradient.reshape(3, 1, 2, 2), torch.tensor([2.9, 3.0, 2.0])).flatten(1)
    third = 1 / 3
    expected = [[0.5, -0.5, 0.0, 0.0], [third, third, -third, 0.0], [0.0] * 4]
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize("margin", [0.45, 0.8])
def test_a_linear_classifier_flips_exactly_at_margin_over_dual_norm(margin: float) -> None:
    model, x, y = classifier_with_margin(margin)
    smallest = int((margin + MARGIN) / dual_norm(model.weight, Norm.L1) * 255) + 1
    for levels, broken in ((smallest - 1, False), (smallest, True)):
        attack = ApgdL1(Ball(Norm.L1, levels), 100)
        found = attack_rows(attack, model, x, y, torch.arange(2), rows_per_call=2)
        assert found.broken.tolist() == [broken] * 2


def test_where_the_box_ends_the_best_value_the_next_ones_take_the_rest() -> None:
    model, x, y = classifier_with_margin(30.0)
    levels = 600
    weight = model.weight.flatten().abs()
    room = torch.where(model.weight.flatten() > 0, x[0].flatten(), 1 - x[0].flatten())
    left, fall = levels / 255, 0.0
    for value in weight.argsort(descending=True).tolist():
        used = min(left, float(room[value]))
        left, fall = left - used, fall + used * float(weight[value])
    found = attack_rows(
        ApgdL1(Ball(Norm.L1, levels), 200), model, x, y, torch.arange(2), rows_per_call=2
    )
    assert (30.0 + found.margin <= fall + 1e-4).all()
    assert (30.0 + found.margin >= 0.99 * fall).all()


def test_a_look_halves_by_the_rule_and_every_picture_lies_in_the_ball() -> None:
    network, x = conv_network(), lattice_pictures(12)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    ball = Ball(Norm.L1, 500)
    asked, states, _ = drive(ApgdL1(ball, 100), network, x, y)
    assert all(ball.contains(picture, x).all() for picture in asked)
    shortened = 0
    for step in range(101):
        before, after = states[step], states[step + 1]
        if step == 0 or step % 4:
            assert torch.equal(after["moved"], before["moved"])
            assert torch.equal(after["step_size"], before["step_size"])
            continue
        changed = (after["best_point"] != x).flatten(1).sum(dim=1).float()
        assert torch.equal(after["moved"], changed / 1.5)
        sparser = changed < 0.95 * before["changed_then"]
        shorter = (before["step_size"] / 1.5).clamp_min(0.1 * ball.eps)
        expected = torch.where(sparser, torch.tensor(ball.eps), shorter)
        torch.testing.assert_close(after["step_size"], expected)
        shortened += int((~sparser).sum())
    assert 0 < shortened < 12 * 25


def test_rows_do_not_depend_on_their_company() -> None:
    network, x = conv_network(), lattice_pictures(10)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    rows, attack = torch.arange(10), ApgdL1(Ball(Norm.L1, 300), 20, "targeted", 3)
    whole = attack_rows(attack, network, x, y, rows, rows_per_call=4, capacity=3)
    part = attack_rows(attack, network, x[6:], y[6:], rows[6:], rows_per_call=4)
    for name in ("adversarial", "margin", "step", "restart", "forwards"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[6:]), name


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_other_norms_are_user_errors(norm: Norm) -> None:
    with pytest.raises(UserError, match="for the norm l1"):
        ApgdL1(Ball(norm, 100))
