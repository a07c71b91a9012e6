"""The fast gradient sign method: on a linear classifier no change of that size does better."""

import math

import pytest
import torch
from linear_models import classifier_with_margin, dual_norm

from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.fgsm import fgsm
from pipeline.perturbation_terms import MARGIN

ROWS = torch.tensor([3, 8])


@pytest.mark.parametrize("levels", [1, 13, 140])
def test_fgsm_is_the_worst_corner_of_ball_and_box(levels: int) -> None:
    model, x, y = classifier_with_margin(30.0)
    found = attack_rows(fgsm(Ball(Norm.LINF, levels)), model, x, y, ROWS, rows_per_call=2)
    corner = ((x * 255).round() - levels * model.weight.sign()).clamp(0, 255) / 255
    assert torch.equal(found.adversarial, corner)
    torch.testing.assert_close(found.margin, -model.margin(corner), rtol=0, atol=1e-4)


@pytest.mark.parametrize("margin", [0.06, 0.3, 0.5, 1.0, 2.2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_fgsm_flips_a_linear_classifier_from_margin_over_l1_norm_on(
    margin: float, seed: int
) -> None:
    model, x, y = classifier_with_margin(margin, seed)
    smallest = math.ceil((margin + MARGIN) / dual_norm(model.weight, Norm.LINF) * 255)
    for levels in range(max(1, smallest - 2), smallest + 2):
        found = attack_rows(fgsm(Ball(Norm.LINF, levels)), model, x, y, ROWS, rows_per_call=2)
        assert found.broken.tolist() == [levels >= smallest] * 2, levels


def test_fgsm_costs_one_gradient_and_two_looks() -> None:
    model, x, y = classifier_with_margin(30.0)
    found = attack_rows(fgsm(Ball(Norm.LINF, 4)), model, x, y, ROWS, rows_per_call=2)
    assert found.forwards.tolist() == [3, 3]  # clean, clean with its gradient, the corner
    assert found.backwards.tolist() == [1, 1]
    assert found.step.tolist() == [1, 1]


def test_fgsm_draws_nothing() -> None:
    model, x, y = classifier_with_margin(30.0)
    one = attack_rows(fgsm(Ball(Norm.LINF, 4)), model, x, y, ROWS, seed=0, rows_per_call=2)
    two = attack_rows(fgsm(Ball(Norm.LINF, 4)), model, x, y, ROWS + 5, seed=1, rows_per_call=2)
    assert torch.equal(one.adversarial, two.adversarial)
