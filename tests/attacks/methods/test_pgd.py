"""Projected gradient descent on linear classifiers, whose worst pictures are closed forms."""

from itertools import pairwise

import pytest
import torch
from attack_driver import FreeBall, conv_network, drive, lattice_pictures
from linear_models import classifier_with_margin, dual_norm

from pipeline.attacks import losses
from pipeline.attacks.base import Norm, StepAttack
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.apgd import Apgd
from pipeline.attacks.methods.fgsm import fgsm
from pipeline.attacks.methods.mi_fgsm import MiFgsm
from pipeline.attacks.methods.pgd import Pgd
from pipeline.perturbation_terms import MARGIN

ROWS = torch.tensor([3, 8])


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("levels", [1, 12, 140])
def test_linf_reaches_the_worst_corner_of_ball_and_box_exactly(
    levels: int, random_start: bool
) -> None:
    model, x, y = classifier_with_margin(30.0)
    pgd = Pgd(Ball(Norm.LINF, levels), 10, random_start=random_start)
    found = attack_rows(pgd, model, x, y, ROWS, rows_per_call=2)
    # Values of 102 to 153 levels meet the box where they go by 140.
    corner = ((x * 255).round() - levels * model.weight.sign()).clamp(0, 255) / 255
    assert torch.equal(found.adversarial, corner)
    assert not found.broken.any()
    torch.testing.assert_close(found.margin, -model.margin(corner), rtol=0, atol=1e-4)
    if levels == 12:
        # closed form: the margin falls by ε ||w||_1
        fallen = 30.0 - 12 / 255 * dual_norm(model.weight, Norm.LINF)
        torch.testing.assert_close(-found.margin, torch.full((2,), fallen), rtol=0, atol=1e-4)


@pytest.mark.parametrize("random_start", [False, True])
def test_l2_reaches_the_point_of_the_sphere_against_w(random_start: bool) -> None:
    model, x, y = classifier_with_margin(30.0)
    levels = 80
    sphere = x - levels / 255 * model.weight / dual_norm(model.weight, Norm.L2)
    # From a random start the part across w shrinks by half each step of length ε.
    step_size = levels / 255 if random_start else None
    free = Pgd(FreeBall(Norm.L2, levels), 40, step_size, random_start)
    asked, _, _ = drive(free, model, x, y)
    torch.testing.assert_close(asked[-1], sphere, rtol=0, atol=2e-6)
    # On the lattice within a level of each value, and as good but for one level of 80.
    pgd = Pgd(Ball(Norm.L2, levels), 40, step_size, random_start)
    found = attack_rows(pgd, model, x, y, ROWS, rows_per_call=2)
    assert ((found.adversarial - sphere).abs().max() * 255) < 1.001
    least = (levels - 1) / 255 * dual_norm(model.weight, Norm.L2)
    assert (30.0 + found.margin > least).all()
    assert (30.0 + found.margin <= levels / 255 * dual_norm(model.weight, Norm.L2)).all()


@pytest.mark.parametrize("random_start", [False, True])
def test_l1_puts_the_whole_change_into_the_value_of_largest_weight(random_start: bool) -> None:
    model, x, y = classifier_with_margin(30.0)
    best = int(model.weight.abs().argmax())
    pgd = Pgd(Ball(Norm.L1, 60), 10, random_start=random_start)
    found = attack_rows(pgd, model, x, y, ROWS, rows_per_call=2)
    expected = (x * 255).round().flatten(1)
    expected[:, best] -= 60 * float(model.weight.flatten()[best].sign())
    assert torch.equal(found.adversarial, (expected / 255).reshape(x.shape))
    # closed form: the margin falls by ε max |w|
    fallen = 30.0 - 60 / 255 * dual_norm(model.weight, Norm.L1)
    torch.testing.assert_close(-found.margin, torch.full((2,), fallen), rtol=0, atol=1e-4)


@pytest.mark.parametrize("levels", [200, 1000])
def test_l1_goes_on_with_the_next_value_where_the_box_ends_the_best_one(levels: int) -> None:
    model, x, y = classifier_with_margin(30.0)
    pgd = Pgd(Ball(Norm.L1, levels), 40, random_start=False)
    found = attack_rows(pgd, model, x, y, ROWS, rows_per_call=2)
    # The worst picture fills values in the order of their weights, each up to the box.
    weight, clean = model.weight.flatten().tolist(), (x[0] * 255).flatten().tolist()
    left, fall = float(levels), 0.0
    for w, value in sorted(zip(weight, clean, strict=True), key=lambda pair: -abs(pair[0])):
        taken = min(left, value if w > 0 else 255 - value)
        left, fall = left - taken, fall + taken / 255 * abs(w)
    assert (30.0 + found.margin <= fall + 1e-4).all()
    # A step that the box cuts short is not made up for: forty of them lose some hundredths.
    assert (30.0 + found.margin >= 0.95 * fall).all()


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("margin", [0.45, 0.8])
def test_a_linear_classifier_flips_exactly_at_margin_over_dual_norm(
    norm: Norm, margin: float
) -> None:
    model, x, y = classifier_with_margin(margin)
    smallest = int((margin + MARGIN) / dual_norm(model.weight, norm) * 255) + 1
    # In L2 the lattice may cost a level of the sphere's radius.
    for levels, broken in ((smallest - 1, False), (smallest + (norm is Norm.L2), True)):
        found = attack_rows(
            Pgd(Ball(norm, levels), 10), model, x, y, ROWS, rows_per_call=2
        )  # fmt: skip
        assert found.broken.tolist() == [broken] * 2
        assert torch.equal(model.margin(found.adversarial) < -MARGIN, found.broken)


@pytest.mark.parametrize("norm", list(Norm))
def test_every_step_has_the_length_alpha_in_its_norm(norm: Norm) -> None:
    model, x, y = classifier_with_margin(30.0)
    ball = FreeBall(norm, 60)
    for step_size, alpha in ((None, 2.5 * 60 / 255 / 10), (0.01, 0.01)):
        asked, _, _ = drive(Pgd(ball, 10, step_size, random_start=False), model, x, y)
        assert torch.equal(asked[0], x)
        assert len(asked) == 11
        order = {Norm.LINF: torch.inf, Norm.L2: 2, Norm.L1: 1}[norm]
        for before, after in pairwise(asked[:4]):
            length = torch.linalg.vector_norm((after - before).flatten(1), ord=order, dim=1)
            torch.testing.assert_close(length, torch.full((2,), alpha), rtol=1e-4, atol=0)


def test_the_last_look_needs_no_gradient() -> None:
    model, x, y = classifier_with_margin(30.0)
    _, _, recorder = drive(Pgd(Ball(Norm.LINF, 8), 3), model, x, y)
    assert [wanted.tolist() for wanted in recorder.wanted] == [[True] * 2] * 3 + [[False] * 2]
    found = attack_rows(Pgd(Ball(Norm.LINF, 8), 3), model, x, y, ROWS, rows_per_call=2)
    assert found.forwards.tolist() == [1 + 4] * 2
    assert found.backwards.tolist() == [3] * 2


@pytest.mark.parametrize("norm", list(Norm))
def test_every_picture_asked_about_is_on_the_lattice_and_in_the_ball(norm: Norm) -> None:
    network, x = conv_network(), lattice_pictures(12)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    for levels in (1, 30, 600):
        ball = Ball(norm, levels)
        asked, _, _ = drive(Pgd(ball, 7), network, x, y)
        for picture in asked:
            assert torch.equal(picture, (picture * 255).round() / 255)
            assert ball.contains(picture, x).all()
            assert picture.min() >= 0
            assert picture.max() <= 1


def test_beginnings_after_the_first_are_random_in_any_case() -> None:
    model, x, y = classifier_with_margin(30.0)
    ball = Ball(Norm.LINF, 8)
    plain = Pgd(ball, 2, random_start=False, restarts=3)
    starts = [drive(plain, model, x, y, restart=r)[0][0] for r in range(3)]
    assert torch.equal(starts[0], x)
    assert not torch.equal(starts[1], x)
    assert not torch.equal(starts[2], starts[1])
    random = Pgd(ball, 2, restarts=3)
    assert not torch.equal(drive(random, model, x, y)[0][0], x)
    # The same draw, whether the first beginning was random or not.
    assert torch.equal(drive(random, model, x, y, restart=1)[0][0], starts[1])


def test_the_gradient_is_that_of_the_loss_given() -> None:
    # Of two losses one rises and the other falls with the margin: they lead to opposite corners.
    def falling(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return -losses.margin(logits, label)

    model, x, y = classifier_with_margin(30.0)
    for loss, side in ((losses.margin, -1), (falling, 1)):
        pgd = Pgd(Ball(Norm.LINF, 5), 4, random_start=False, loss=loss)
        asked, _, _ = drive(pgd, model, x, y)
        corner = ((x * 255).round() + side * 5 * model.weight.sign()) / 255
        assert torch.equal(asked[-1], corner)


def test_more_steps_come_nearer_to_breaking_a_network() -> None:
    network, x = conv_network(), lattice_pictures(32)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
        clean = losses.margin(network(x), y)
    rows, ball = torch.arange(32), Ball(Norm.LINF, 10)
    one = attack_rows(fgsm(ball), network, x, y, rows, rows_per_call=8)
    many = attack_rows(Pgd(ball, 20), network, x, y, rows, rows_per_call=8)
    # It is the cross-entropy that is raised, so the margin need not rise in every row.
    assert int(many.broken.sum()) >= int(one.broken.sum()) > 0
    rest = ~many.broken
    assert rest.any()
    assert (one.margin > clean)[rest].all()
    assert float(many.margin[rest].mean()) > float(one.margin[rest].mean())


@pytest.mark.parametrize(
    "attack",
    [
        Pgd(Ball(Norm.LINF, 40), 10),
        fgsm(Ball(Norm.LINF, 40)),
        MiFgsm(Ball(Norm.LINF, 40)),
        Apgd(Ball(Norm.LINF, 40), 10),
    ],
)
def test_a_classifier_that_is_sure_by_1000_logits_is_broken_all_the_same(
    attack: StepAttack,
) -> None:
    model, x, y = classifier_with_margin(1.0)
    model.weight, model.bias = model.weight * 1000, model.bias * 1000
    assert float(model.margin(x)[0]) == pytest.approx(1000, rel=1e-3)
    found = attack_rows(attack, model, x, y, torch.arange(2), rows_per_call=2)
    assert found.broken.all()
