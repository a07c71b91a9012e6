"""Attacks towards a class: the class is met exactly, and rows that have no way there stay."""

from dataclasses import replace

import pytest
import torch
from attack_driver import conv_network, lattice_pictures
from linear_models import classifier_with_margin, dual_norm
from torch import Tensor

from pipeline.attacks import losses
from pipeline.attacks.base import Model, Norm, StepAttack
from pipeline.attacks.engine.aim import towards
from pipeline.attacks.engine.ensemble import AttackedInTurn, Ensemble, attack_in_turn
from pipeline.attacks.engine.loop import Attacked, attack_rows
from pipeline.attacks.engine.queries import Asker
from pipeline.attacks.engine.towards import Run, attack_towards
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.apgd import Apgd
from pipeline.attacks.methods.ascent import Ascent
from pipeline.attacks.methods.autoattack import fast, standard
from pipeline.attacks.methods.carlini_wagner import CarliniWagner
from pipeline.attacks.methods.ddn import Ddn
from pipeline.attacks.methods.deepfool import DeepFool
from pipeline.attacks.methods.fab import FabTargeted
from pipeline.attacks.methods.fmn import Fmn
from pipeline.attacks.methods.lbfgs import Lbfgs
from pipeline.attacks.methods.mi_fgsm import MiFgsm
from pipeline.attacks.methods.pgd import Pgd
from pipeline.attacks.methods.square import Square
from pipeline.errors import UserError
from pipeline.perturbation_terms import MARGIN

BALL = Ball(Norm.LINF, 12)
ATTACKS: list[StepAttack] = [
    Pgd(BALL, 10),
    MiFgsm(BALL),
    Ascent(Ball(Norm.LINF, 40), 1.0, 20),
    Apgd(BALL, 12),
    FabTargeted(BALL, 10, 1),
    Square(BALL, 60),
    DeepFool(Norm.L2, 10),
    Fmn(Norm.L1, 20),
    Ddn(20),
    CarliniWagner(20, 2),
    Lbfgs(10, 4),
]


def alone(attack: StepAttack) -> Run:
    def run(
        model: Model, x: Tensor, y: Tensor, rows: Tensor, logits: Tensor, aims: Tensor
    ) -> Attacked:
        found = attack_rows(attack, model, x, y, rows, rows_per_call=8, logits=logits, targets=aims)
        return replace(found, forwards=found.forwards + 1)

    return run


def pictures(num: int = 24) -> tuple[torch.nn.Module, Tensor, Tensor, Tensor]:
    """A network, pictures, their labels (the first three wrong), and the class after each label."""
    model, x = conv_network(), lattice_pictures(num, seed=4)
    with torch.no_grad():
        y = model(x).argmax(dim=1)
    y[:3] = (y[:3] + 1) % 4
    return model, x, y, (y + 1) % 4


def test_the_two_logits_are_the_strongest_other_class_and_the_target() -> None:
    logits = torch.tensor([[4.0, 1.0, 3.0, 0.0], [1.0, 6.0, 2.0, 5.0]])
    assert towards(logits, torch.tensor([2, 2])).tolist() == [[4.0, 3.0], [6.0, 2.0]]
    assert towards(logits, torch.tensor([0, 3])).tolist() == [[3.0, 4.0], [6.0, 5.0]]


def test_log_odds_towards_a_class_point_along_its_log_probability() -> None:
    logits = torch.tensor([[4.0, 1.0, 3.0, 0.0], [1.0, 6.0, 2.0, 5.0]], requires_grad=True)
    targets, right = torch.tensor([2, 0]), torch.zeros(2, dtype=torch.int64)
    asker = Asker(lambda x: x.flatten(1), 2, logits[:, :, None, None].detach())
    seen, values, gradient = asker.gradient(
        logits[:, :, None, None].detach(), losses.log_odds, right, targets=targets
    )
    log_p = logits.log_softmax(dim=1).gather(1, targets[:, None]).squeeze(1)
    (due,) = torch.autograd.grad(log_p.sum(), logits)
    parallel = torch.cosine_similarity(gradient.flatten(1), due)
    torch.testing.assert_close(parallel, torch.ones(2))
    p = log_p.detach().exp()
    torch.testing.assert_close(values, (p / (1 - p)).log())
    assert torch.equal(seen, towards(logits.detach(), targets))  # what verdicts go by


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: type(a).__name__)
def test_a_broken_row_is_answered_as_its_target_by_more_than_the_margin(
    attack: StepAttack,
) -> None:
    model, x, y, targets = pictures()
    rows = torch.arange(len(x))
    found = attack_towards(alone(attack), model, x, y, rows, targets, 8)
    with torch.no_grad():
        logits = model(found.adversarial)
    own = logits.gather(1, targets[:, None]).squeeze(1)
    lead = own - logits.scatter(1, targets[:, None], -torch.inf).amax(dim=1)
    torch.testing.assert_close(found.margin, lead, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.broken, found.clean_right & (found.margin > MARGIN))
    assert found.broken.sum() >= 4
    assert torch.equal(logits.argmax(dim=1)[found.broken], targets[found.broken])
    # The same in another order.
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    again = attack_towards(alone(attack), model, x[order], y[order], rows[order], targets[order], 8)
    for name in ("adversarial", "margin", "step", "forwards", "backwards"):
        assert torch.equal(getattr(again, name), getattr(found, name)[order]), name


def test_rows_that_are_wrong_already_or_aim_at_their_label_are_not_attacked() -> None:
    model, x, y, targets = pictures()
    targets[5] = y[5]
    targets[0] = (y[0] + 3) % 4  # what the wrong answer is
    found = attack_towards(alone(Pgd(BALL, 10)), model, x, y, torch.arange(len(x)), targets, 8)
    left = torch.tensor([0, 1, 2, 5])
    assert not found.clean_right[left].any()
    assert not found.broken[left].any()
    assert torch.equal(found.adversarial[left], x[left])
    assert found.forwards[left].tolist() == [1] * 4
    assert found.backwards[left].tolist() == [0] * 4
    assert found.clean_right.sum() == len(x) - 4
    assert (found.margin[[0, 5]] > 0).all()


def three_classes(margin: float) -> tuple[Model, Tensor, Tensor, float]:
    """Class 0 leads by a linear margin over class 2, and by 3 everywhere over class 1."""
    two, x, _ = classifier_with_margin(margin)

    def model(x: Tensor) -> Tensor:
        first = two.margin(x)
        return torch.stack((first, first - 3, torch.zeros_like(first)), dim=1)

    return model, x, torch.zeros(2, dtype=torch.int64), dual_norm(two.weight, Norm.LINF)


@pytest.mark.parametrize("attack", [Pgd, Apgd])
def test_a_linear_classifier_answers_the_target_exactly_at_margin_over_dual_norm(
    attack: type[Pgd | Apgd],
) -> None:
    model, x, y, steepness = three_classes(0.6)
    smallest = int((0.6 + MARGIN) / steepness * 255) + 1
    for levels, broken in ((smallest - 1, False), (smallest, True)):
        run = alone(attack(Ball(Norm.LINF, levels), 20))
        found = attack_towards(run, model, x, y, torch.arange(2), torch.tensor([2, 1]), 8)
        # The way to class 2 is this long; class 1 is behind class 0 everywhere.
        assert found.broken.tolist() == [broken, False]
        assert float(found.margin[1]) == pytest.approx(-3.0, abs=1e-4)


@pytest.mark.parametrize("version", [standard, fast])
def test_autoattack_towards_a_class_leaves_out_what_aims_by_itself(version: object) -> None:
    model, x, y, targets = pictures(12)
    whole = version(BALL)  # type: ignore[operator]
    ensemble = Ensemble(whole.attacks[:2])

    def run(
        model: Model, x: Tensor, y: Tensor, rows: Tensor, logits: Tensor, aims: Tensor
    ) -> AttackedInTurn:
        return attack_in_turn(
            ensemble, model, x, y, rows, rows_per_call=8, logits=logits, targets=aims
        )

    found = attack_towards(run, model, x, y, torch.arange(12), targets, 8)
    first = attack_towards(alone(whole.attacks[0][1]), model, x, y, torch.arange(12), targets, 8)
    # With two logits the targeted ratio is the cross-entropy again, which is passed over.
    assert torch.equal(found.backwards, first.backwards)
    assert torch.equal(found.adversarial, first.adversarial)
    assert set(found.attack.tolist()) == {0}


def test_logits_that_are_not_finite_are_refused_by_row() -> None:
    model, x, y, targets = pictures(8)

    def broken(x: Tensor) -> Tensor:
        logits: Tensor = model(x)
        return logits / (x[:, 0, 0, 0] > 0)[:, None].float()  # the first picture is black

    with pytest.raises(UserError, match="row 40 are not finite"):
        attack_towards(alone(Pgd(BALL)), broken, x, y, torch.arange(40, 48), targets, 8)


class Counting:
    """A model that notes how many pictures each call has."""

    def __init__(self, model: Model) -> None:
        self.model, self.calls = model, list[int]()

    def __call__(self, x: Tensor) -> Tensor:
        self.calls.append(x.shape[0])
        return self.model(x)


def test_the_calls_sizes_are_tried_once_for_all_targets_and_shards() -> None:
    """Of a model whose class 0 leads by far, five-step PGD asks so many rows and no more."""
    network, x, _, _ = pictures(32)

    def firm(x: Tensor) -> Tensor:
        logits: Tensor = network(x)
        return logits + 100 * torch.eye(4)[0]

    still = Pgd(Ball(Norm.LINF, 1), 5)

    def run(
        model: Model, x: Tensor, y: Tensor, rows: Tensor, logits: Tensor, aims: Tensor
    ) -> Attacked:
        return attack_rows(still, model, x, y, rows, rows_per_call=32, logits=logits, targets=aims)

    model, rows = Counting(firm), torch.arange(32)
    for shard in rows.split(16):
        part, label = x[shard], torch.zeros(16, dtype=torch.int64)
        found = attack_towards(run, model, part, label, shard, 1 + shard % 3, 32, firm(part))
        assert not found.broken.any()
        assert found.backwards.tolist() == [5] * 16
        assert found.forwards.tolist() == [6] * 16
    # The trial once; then two shards, whose rows share calls of 16 whatever their targets.
    assert model.calls == [32, 16, 8] + [16] * 6 * 2
