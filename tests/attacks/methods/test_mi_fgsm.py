"""The momentum recursion, worked out by hand on gradients that are known."""

import pytest
import torch
from attack_driver import drive
from linear_models import classifier_with_margin
from torch import Tensor

from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.mi_fgsm import MiFgsm

CLEAN = torch.full((1, 1, 1, 3), 100.0) / 255
BELOW, ABOVE = torch.tensor([1.0, 1.0, 2.0]), torch.tensor([-3.0, -1.0, 4.0])


def bent(x: Tensor) -> Tensor:
    """Logits ``(r, 0)``; r's slopes are `BELOW` up to half a level over `CLEAN`, then `ABOVE`."""
    u = (x - CLEAN - 0.5 / 255).flatten(1)
    rise = (BELOW * u.clamp_max(0) + ABOVE * u.clamp_min(0)).sum(dim=1) - 5.0
    return torch.stack((rise, torch.zeros_like(rise)), dim=1)


# Of label 1 the gradients are (1, 1, 2) and then (-3, -1, 4), each over its sum of sizes:
# (1/4, 1/4, 1/2) and (-3/8, -1/8, 1/2). With μ = 1 the average's second value is
# 1/4 - 1/8 > 0 and goes on, the first, 1/4 - 3/8 < 0, turns. With μ = 0.4 it is 0.1 - 1/8 < 0.
@pytest.mark.parametrize(
    ("decay", "average", "last"),
    [
        (1.0, [-0.125, 0.125, 1.0], [0, 4, 4]),
        (0.4, [-0.275, -0.025, 0.7], [0, 0, 4]),
        (0.0, [-0.375, -0.125, 0.5], [0, 0, 4]),
    ],
)
def test_two_steps_follow_the_recursion_by_hand(
    decay: float, average: list[float], last: list[int]
) -> None:
    attack = MiFgsm(Ball(Norm.LINF, 4), steps=2, decay=decay)
    asked, states, _ = drive(attack, bent, CLEAN, torch.ones(1, dtype=torch.int64))
    levels = [((a - CLEAN) * 255).round().flatten().int().tolist() for a in asked]
    assert levels == [[0, 0, 0], [2, 2, 2], last]
    torch.testing.assert_close(states[1]["average"].flatten(), torch.tensor([0.25, 0.25, 0.5]))
    torch.testing.assert_close(states[2]["average"].flatten(), torch.tensor(average))


def test_in_l2_the_step_goes_along_the_average() -> None:
    attack = MiFgsm(Ball(Norm.L2, 40), steps=2)
    _, states, _ = drive(attack, bent, CLEAN, torch.ones(1, dtype=torch.int64))
    direction = torch.tensor([1.0, 1.0, 2.0]) / 6**0.5
    first = CLEAN.flatten() + 20 / 255 * direction
    torch.testing.assert_close(states[1]["point"].flatten(), first)
    average = torch.tensor([-0.125, 0.125, 1.0])
    second = first + 20 / 255 * average / average.norm()
    torch.testing.assert_close(states[2]["point"].flatten(), second)


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_the_steps_together_are_as_long_as_the_radius(steps: int) -> None:
    # A linear classifier's gradient never turns: after all steps the worst corner, not before.
    model, x, y = classifier_with_margin(30.0)
    attack = MiFgsm(Ball(Norm.LINF, 40), steps=steps)
    found = attack_rows(attack, model, x, y, torch.arange(2), rows_per_call=2)
    corner = ((x * 255).round() - 40 * model.weight.sign()) / 255
    assert torch.equal(found.adversarial, corner)
    assert found.step.tolist() == [steps] * 2
    assert found.backwards.tolist() == [steps] * 2
