"""Auto-PGD in L1 from larger balls: where it asks and what counts, and linear classifiers."""

import pytest
import torch
from attack_driver import conv_network, drive, lattice_pictures, some_rows
from linear_models import classifier_with_margin, dual_norm
from torch import Tensor

from pipeline.attacks.autoattack.shrinking_apgd_l1 import ShrinkingApgdL1
from pipeline.attacks.base import Norm, row_norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.apgd_l1 import ApgdL1
from pipeline.perturbation_terms import MARGIN

STARTS = {100: (0, 30, 60), 21: (0, 7, 14), 1: (0, 1, 1)}


def pictures(num: int = 12) -> tuple[torch.nn.Module, Tensor, Tensor]:
    network, x = conv_network(), lattice_pictures(num)
    with torch.no_grad():
        return network, x, network(x).argmax(dim=1)


@pytest.mark.parametrize("steps", STARTS)
def test_it_asks_in_three_balls_in_turn_and_only_the_last_counts(steps: int) -> None:
    network, x, y = pictures()
    ball = Ball(Norm.L1, 300)
    asked, _, _ = drive(ShrinkingApgdL1(ball, steps), network, x, y)
    assert len(asked) == steps + 1
    longest = torch.stack([row_norm((picture - x) * 255, Norm.L1).flatten() for picture in asked])
    for step in range(steps + 1):
        number = sum(step >= start for start in STARTS[steps]) - 1
        assert (longest[step] <= (3 - number) * 300 + 1e-2).all()
    if steps > 1:
        assert (longest[0 : STARTS[steps][1]] > 600).any()
        assert (longest[STARTS[steps][1] : STARTS[steps][2]] > 300).any()
    found = attack_rows(ShrinkingApgdL1(ball, steps), network, x, y, torch.arange(12))
    assert ball.contains(found.adversarial, x).all()
    # 0 where no picture was better than the clean one
    assert ((found.step >= STARTS[steps][2]) | (found.adversarial == x).flatten(1).all(dim=1)).all()


def test_in_each_ball_it_begins_at_the_nearest_point_to_the_best_one_before() -> None:
    network, x, y = pictures()
    ball = Ball(Norm.L1, 300)
    attack = ShrinkingApgdL1(ball, 100)
    asked, states, _ = drive(attack, network, x, y)
    for start, levels in ((30, 600), (60, 300)):
        before, after = states[start], states[start + 1]
        smaller = Ball(Norm.L1, levels)
        # The rows' new beginning is the first picture that is asked about, and so far the best.
        begun = smaller.project(before["best_point"], x)
        torch.testing.assert_close(after["best_point"], begun)
        assert torch.equal(asked[start], smaller.snap(begun, x))
        assert torch.equal(after["step_size"], torch.full((12,), smaller.eps))
        changed = (begun != x).flatten(1).sum(dim=1).float()
        assert torch.equal(after["moved"], changed / 1.5)
        assert torch.equal(after["changed_then"], changed)
        assert (after["best_loss"] > -torch.inf).all()


def test_a_row_in_the_last_ball_goes_on_as_the_attack_with_one_radius() -> None:
    network, x, y = pictures()
    ball = Ball(Norm.L1, 300)
    _, states, recorder = drive(ShrinkingApgdL1(ball, 100), network, x, y)
    one = ApgdL1(ball, 40)  # looks after each step, as in 40 steps of a hundred
    with torch.no_grad():
        logits = network(x)
    state = dict(states[61])
    for step in range(1, 40):
        rows = some_rows(x, label=y, logits=logits, step=step)
        state = one.step(rows, state, recorder).state
        for name in ("point", "best_loss", "step_size", "moved"):
            assert torch.equal(state[name], states[61 + step][name]), (step, name)


@pytest.mark.parametrize("margin", [0.45, 0.8])
def test_a_linear_classifier_flips_exactly_at_margin_over_dual_norm(margin: float) -> None:
    model, x, y = classifier_with_margin(margin)
    smallest = int((margin + MARGIN) / dual_norm(model.weight, Norm.L1) * 255) + 1
    for levels, broken in ((smallest - 1, False), (smallest, True)):
        attack = ShrinkingApgdL1(Ball(Norm.L1, levels), 100)
        found = attack_rows(attack, model, x, y, torch.arange(2), rows_per_call=2)
        assert found.broken.tolist() == [broken] * 2


def test_rows_do_not_depend_on_their_company() -> None:
    network, x, y = pictures(10)
    rows, attack = torch.arange(10), ShrinkingApgdL1(Ball(Norm.L1, 300), 20, "targeted", 3)
    whole = attack_rows(attack, network, x, y, rows, rows_per_call=4, capacity=3)
    part = attack_rows(attack, network, x[6:], y[6:], rows[6:], rows_per_call=4)
    for name in ("adversarial", "margin", "step", "restart", "forwards"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[6:]), name
