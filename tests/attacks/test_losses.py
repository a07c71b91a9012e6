"""What attacks raise: closed forms, invariances, and a plain computation beside each."""

import math

import pytest
import torch
from torch import Tensor

from pipeline.attacks import losses
from pipeline.attacks.base import Loss


def some_logits(num: int = 40, classes: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, classes, (num,), generator=generator)


def plain(logits: Tensor, label: Tensor, target: Tensor) -> dict[str, list[float]]:
    """Each loss of each row, in Python's own arithmetic."""
    found: dict[str, list[float]] = {
        "ce": [],
        "odds": [],
        "margin": [],
        "ratio": [],
        "targeted": [],
    }
    for z, y, t in zip(logits.tolist(), label.tolist(), target.tolist(), strict=True):
        ranked = sorted(z, reverse=True)
        lead = max(v for i, v in enumerate(z) if i != y) - z[y]
        found["ce"].append(math.log(sum(math.exp(v) for v in z)) - z[y])
        against = sum(math.exp(v) for i, v in enumerate(z) if i != y)
        found["odds"].append(math.log(against / math.exp(z[y])))
        found["margin"].append(lead)
        found["ratio"].append(lead / (ranked[0] - ranked[2]))
        scale = ranked[0] - (ranked[2] + ranked[3]) / 2
        found["targeted"].append((z[t] - z[y]) / scale)
    return found


def test_losses_agree_with_a_plain_computation() -> None:
    logits, label = some_logits()
    target = (label + 1) % 5
    found = {
        "ce": losses.cross_entropy(logits, label),
        "odds": losses.log_odds(logits, label),
        "margin": losses.margin(logits, label),
        "ratio": losses.logits_ratio(logits, label),
        "targeted": losses.targeted_logits_ratio(logits, label, target),
    }
    for name, expected in plain(logits, label, target).items():
        torch.testing.assert_close(
            found[name], torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12
        )


def test_closed_forms_of_given_logits() -> None:
    logits = torch.tensor([[4.0, 1.0, 3.0, 0.0], [4.0, 1.0, 3.0, 0.0]], dtype=torch.float64)
    label = torch.tensor([0, 3])
    assert losses.margin(logits, label).tolist() == [-1.0, 4.0]
    # z_π1 - z_π3 = 4 - 1; z_π1 - (z_π3 + z_π4) / 2 = 4 - 1/2
    ratio = losses.logits_ratio(logits, label)
    assert ratio.tolist() == pytest.approx([-1 / 3, 4 / 3], abs=1e-11)
    targeted = losses.targeted_logits_ratio(logits, label, torch.tensor([2, 1]))
    assert targeted.tolist() == pytest.approx([-1 / 3.5, 1 / 3.5], abs=1e-11)


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_their_number() -> None:
    value = losses.cross_entropy(torch.full((1, 7), 2.5, dtype=torch.float64), torch.tensor([3]))
    assert float(value) == pytest.approx(math.log(7), abs=1e-12)


@pytest.mark.parametrize(("shift", "scale"), [(100.0, 1.0), (0.0, 50.0), (-7.0, 0.01)])
def test_the_ratios_change_neither_with_a_shift_nor_with_a_scale(
    shift: float, scale: float
) -> None:
    logits, label = some_logits()
    target = (label + 2) % 5
    moved = scale * logits + shift
    for ratio, others in (
        (losses.logits_ratio, ()),
        (losses.targeted_logits_ratio, (target,)),
    ):
        torch.testing.assert_close(
            ratio(moved, label, *others), ratio(logits, label, *others), rtol=1e-8, atol=1e-9
        )


def test_a_scale_hides_the_gradient_of_the_cross_entropy_but_not_of_the_ratio() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0]], dtype=torch.float64)
    label, scale = torch.tensor([0]), 1000.0
    sizes = {}
    for loss in (losses.cross_entropy, losses.logits_ratio):
        probe = logits.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(scale * probe, label).sum(), probe)
        sizes[loss.__name__] = float(gradient.abs().max())
    assert sizes["cross_entropy"] == 0.0
    # d/dz_2 of (z_2 - z_1) / (z_1 - z_3) is 1/3
    assert sizes["logits_ratio"] == pytest.approx(1 / 3, abs=0.12)


def test_the_log_odds_rise_with_the_cross_entropy_and_point_where_it_does() -> None:
    logits, label = some_logits()
    directions = []
    for loss in (losses.cross_entropy, losses.log_odds):
        probe = logits.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(probe, label).sum(), probe)
        directions.append(gradient / gradient.norm(dim=1, keepdim=True))
    torch.testing.assert_close(directions[0], directions[1])
    entropy, odds = losses.cross_entropy(logits, label), losses.log_odds(logits, label)
    torch.testing.assert_close(entropy, torch.nn.functional.softplus(odds))


def test_the_log_odds_keep_value_and_gradient_at_a_lead_of_1000_logits_in_float32() -> None:
    logits = torch.tensor([[1000.0, 0.0, 0.0], [1001.0, 0.0, -500.0]], requires_grad=True)
    label = torch.tensor([0, 0])
    assert losses.cross_entropy(logits, label).tolist() == [0.0, 0.0]
    odds = losses.log_odds(logits, label)
    assert odds.tolist() == pytest.approx([math.log(2) - 1000, -1001])
    (gradient,) = torch.autograd.grad(odds.sum(), logits)
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, 0.5, 0.5], [-1.0, 1.0, 0.0]]))


@pytest.mark.parametrize("loss", [losses.margin, losses.logits_ratio])
def test_the_margin_and_the_ratio_are_positive_exactly_where_the_answer_is_wrong(
    loss: Loss,
) -> None:
    logits, label = some_logits(200)
    assert torch.equal(loss(logits, label) > 0, logits.argmax(dim=1) != label)


def test_equal_logits_have_the_ratio_nought() -> None:
    logits, label = torch.full((2, 4), 1.5), torch.tensor([0, 2])
    assert losses.logits_ratio(logits, label).tolist() == [0.0, 0.0]
    assert losses.targeted_logits_ratio(logits, label, torch.tensor([1, 1])).tolist() == [0.0, 0.0]


def test_each_rows_loss_depends_on_that_row_alone() -> None:
    logits, label = some_logits()
    target = (label + 1) % 5
    for row in (0, 17):
        part = slice(row, row + 1)
        for loss, others in (
            (losses.cross_entropy, ()),
            (losses.log_odds, ()),
            (losses.margin, ()),
            (losses.logits_ratio, ()),
            (losses.targeted_logits_ratio, (target,)),
        ):
            alone = loss(logits[part], label[part], *(o[part] for o in others))
            torch.testing.assert_close(alone, loss(logits, label, *others)[part])
