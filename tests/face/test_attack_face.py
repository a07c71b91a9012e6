"""`ns.attack`: a perturbation set's bytes in memory, for any torch module, left as it was."""

import copy
import sys
import types
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from digit_models import digit_network
from digit_set import CLASSES, digits
from perturbation_faults import make_shards, settings, write_inputs
from torch import nn

import noisestack as ns
from pipeline.attacks.base import Norm
from pipeline.attacks.engine.ensemble import Ensemble
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods import autoattack
from pipeline.attacks.methods.apgd import Apgd
from pipeline.attacks.methods.fgsm import fgsm
from pipeline.attacks.methods.pgd import Pgd
from pipeline.attacks.settings import AttackSettings
from pipeline.attacks.trust.audit import Audit
from pipeline.classifier import Classifier
from pipeline.formats.dataset import load_dataset
from pipeline.formats.perturbation.distances import in_ball
from pipeline.formats.perturbation.trivial_pictures import count_trivial
from pipeline.formats.perturbation.warnings import doubtful_rows, row_warnings
from pipeline.formats.shard import images_of, read_part
from pipeline.perturbation.built_in import BuiltIn
from pipeline.perturbation.judge import judge_of
from pipeline.perturbation.trust import measured_threshold

IMAGES, LABELS = (values[-60:] for values in digits())


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("attack")
    write_inputs(path)
    return path


@pytest.fixture(scope="module")
def classifier(inputs: Path) -> ns.Classifier:
    return ns.load_classifier(inputs / "classifier")


def stored(
    inputs: Path, output: Path, attack: AttackSettings, num: int = 60, *, widened: bool = False
) -> pa.Table:
    """The first rows as the job `perturb` makes them, in two shards."""
    judge = judge_of(Classifier.load(inputs / "classifier"), BuiltIn(attack).record())
    measured = measured_threshold(judge, load_dataset(inputs / "digits"), "test", num)
    threshold = float(measured["threshold"])
    records = make_shards(
        inputs, output, attack, 2 * num // 3, num, threshold=threshold, widened=widened
    )
    parts = [read_part(output / record["file"], 0, record["num_rows"]) for record in records]
    return pa.concat_tables(parts).combine_chunks()


CASES: list[tuple[AttackSettings, dict[str, object]]] = [
    (settings(), {"name": "pgd", "eps": "40/255", "steps": 5}),
    (
        settings(norm=Norm.L1, eps_levels=1000, restarts=2, seed=9),
        {"eps": 1000 / 255, "norm": "l1", "steps": 5, "restarts": 2, "seed": 9},
    ),
    (
        settings(attack="apgd_ce", target="random", eps_levels=80),
        {"name": "apgd_ce", "eps": 80 / 255, "steps": 5, "targets": "random"},
    ),
    (
        settings(attack="ddn", norm=Norm.L2, eps_levels=0, steps=30),
        {"name": "ddn", "norm": "l2", "steps": 30},
    ),
    (settings(draws=2, steps=1), {"eps": 40 / 255, "steps": 1, "draws": 2}),
]


@pytest.mark.parametrize(("attack", "told"), CASES, ids=lambda c: getattr(c, "attack", ""))
def test_rows_are_those_of_a_perturbation_set_with_the_same_options(
    inputs: Path,
    tmp_path: Path,
    classifier: ns.Classifier,
    attack: AttackSettings,
    told: dict[str, object],
) -> None:
    num = 60 if attack.draws == 1 else 12
    due = stored(inputs, tmp_path, attack, num)
    found = ns.attack(classifier, IMAGES[:num], LABELS[:num], **{"seed": 1, **told})  # type: ignore[arg-type]
    assert np.array_equal(found.adversarial, images_of(due, "adversarial"))
    assert np.array_equal(found.clean, IMAGES[:num])
    columns = {
        "label": found.labels,
        "target": found.targets,
        "clean_prediction": found.clean_predictions,
        "adversarial_prediction": found.adversarial_predictions,
        "margin": found.margins,
        "success": found.success,
        attack.norm.value: found.sizes * (255 if attack.norm is Norm.LINF else 1),
        "forwards": found.forwards,
        "backwards": found.backwards,
    }
    for name, values in columns.items():
        assert np.array_equal(values, due.column(name).to_numpy()), name
    assert list(found.found_attack) == due.column("found_attack").to_pylist()
    assert found.success.any()
    record = {**BuiltIn(attack).record(), "threshold": found.threshold}
    counts = {
        "rows": num,
        "clean_right": found.clean_accuracy.count,
        "successes": int(found.success.sum()),
        **doubtful_rows(due, record),
        "trivial": count_trivial(due, record),
    }
    spoken = [warning.text for warning in row_warnings(counts, record, 10)]
    assert list(found.warnings[len(found.warnings) - len(spoken) :]) == spoken
    assert in_ball(found.clean, found.adversarial, found.norm, round(found.eps * 255)).all()
    right = found.clean_predictions == LABELS[:num]
    assert found.clean_accuracy == ns.Rate(int(right.sum()), num)
    assert found.robust_accuracy == ns.Rate(int((right & ~found.success).sum()), num)


def test_some_rows_have_the_bytes_that_they_have_among_all_when_told_their_numbers(
    classifier: ns.Classifier,
) -> None:
    chosen = np.array([50, 7, 31])
    few = (IMAGES[chosen], LABELS[chosen])
    whole = ns.attack(classifier, IMAGES, LABELS, eps="12/255", steps=4, seed=1)
    how = {"eps": "12/255", "steps": 4, "seed": 1, "threshold": whole.threshold}
    some = ns.attack(classifier, *few, rows=chosen, **how)  # type: ignore[arg-type]
    assert np.array_equal(some.adversarial, whole.adversarial[chosen])
    assert np.array_equal(some.margins, whole.margins[chosen])
    other = ns.attack(classifier, *few, **how)  # type: ignore[arg-type]
    assert not np.array_equal(other.adversarial, some.adversarial)


@pytest.mark.parametrize("steps", [1, 20])  # of the alarm: one breaks nothing more
def test_an_ensembles_alarm_is_widened_to_all_rows_where_it_goes_off_as_the_job_does_it(
    inputs: Path,
    tmp_path: Path,
    classifier: ns.Classifier,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    ball = Ball(Norm.LINF, 20)
    alarm = fgsm(ball) if steps == 1 else Apgd(ball, steps)
    audit = Audit((("audit", Pgd(ball, 1, ball.eps / 4)),), 0.3, alarm=("alarm", alarm))
    ensemble = Ensemble((("fgsm", fgsm(ball)),), audit=audit)
    monkeypatch.setattr(autoattack, "fast", lambda ball: ensemble)
    chosen = settings(attack="autoattack", ensemble="fast", steps=1, eps_levels=20)
    due = stored(inputs, tmp_path, chosen, widened=steps == 20)
    found = ns.attack(
        classifier, IMAGES, LABELS, "autoattack", eps=20 / 255, ensemble="fast", seed=1
    )
    assert np.array_equal(found.adversarial, images_of(due, "adversarial"))
    assert list(found.found_attack) == due.column("found_attack").to_pylist()
    assert np.array_equal(found.forwards, due.column("forwards").to_numpy())
    assert ("alarm" in found.found_attack) == (steps == 20)


class Odd(nn.Module):
    """A module in training mode, with dropout and batch norm, whose parameters want gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.drop = digit_network(), nn.BatchNorm2d(1), nn.Dropout(0.5)
        self.inner = copy.deepcopy(digit_network())
        for parameter in self.inner.parameters():
            parameter.requires_grad_(True)
        next(self.inner.parameters()).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert not any(parameter.requires_grad for parameter in self.parameters())
        return self.drop(self.inner(self.norm(x)))


def test_a_module_is_attacked_in_evaluation_mode_and_left_as_it_was() -> None:
    module = Odd().train()
    module.drop.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    wanted = [parameter.requires_grad for parameter in module.parameters()]
    x = torch.from_numpy(IMAGES).movedim(-1, 1).float() / 255
    with torch.inference_mode():  # as a careless caller has it
        found = ns.attack(module, x, torch.from_numpy(LABELS), eps="40/255", steps=5, seed=1)
    assert module.training
    assert module.norm.training
    assert not module.drop.training
    assert [parameter.requires_grad for parameter in module.parameters()] == wanted
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert any("training mode" in line for line in found.warnings)
    assert found.success.sum() > 30
    module.eval().requires_grad_(False)
    assert torch.equal(found.x_adv, torch.from_numpy(found.adversarial).movedim(-1, 1) / 255)
    answers = module(found.x_adv).argmax(dim=1).numpy()
    assert np.array_equal(answers, found.adversarial_predictions)


def test_a_module_gets_the_bytes_that_it_gets_as_a_function_of_the_command_line(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought = types.ModuleType("attack_nets")
    brought.trained = lambda: copy.deepcopy(digit_network())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "attack_nets", brought)
    loaded = ns.load_classifier("attack_nets:trained", dataset=inputs / "digits")
    how = {"eps": "20/255", "steps": 5, "seed": 3}
    due = ns.attack(loaded, IMAGES, LABELS, **how)  # type: ignore[arg-type]
    found = ns.attack(brought.trained(), IMAGES, LABELS, **how)
    assert np.array_equal(found.adversarial, due.adversarial)
    assert repr(found) == (
        f"<pgd in linf, eps 20/255: accuracy {found.clean_accuracy.value:.2%} clean, "
        f"{found.robust_accuracy.value:.2%} perturbed, of 60 pictures>"
    )


def test_targets_are_a_rule_a_class_or_a_class_for_each_row(classifier: ns.Classifier) -> None:
    few, how = slice(0, 8), {"eps": "80/255", "steps": 4}
    next_ones = (LABELS[few] + 1) % 10

    def run(targets: object) -> ns.AttackResult:
        return ns.attack(
            classifier,
            IMAGES[few],
            LABELS[few],
            "apgd_ce",
            targets=targets,
            **how,  # type: ignore[arg-type]
        )

    rule, each = run("next"), run(next_ones)
    assert np.array_equal(rule.adversarial, each.adversarial)
    assert np.array_equal(each.targets, next_ones)
    assert each.success.any()
    assert (each.adversarial_predictions == next_ones)[each.success].all()
    assert np.array_equal(run(3).adversarial, run("3").adversarial)
    assert np.array_equal(run([3] * 8).adversarial, run(torch.full((8,), 3)).adversarial)


def test_rows_that_speak_against_the_accuracy_are_warned_of(classifier: ns.Classifier) -> None:
    shifted = ns.attack(classifier, IMAGES, (LABELS + 1) % 10, eps="4/255", steps=1)
    assert any("no better than guessing among 10 classes" in line for line in shifted.warnings)


def test_all_attacks_are_listed() -> None:
    assert {"pgd", "autoattack", "square", "fmn"} <= set(ns.attacks)


class Fixed(nn.Module):
    """Gives an answer whatever it is asked."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> object:
        return self.answer(x) if callable(self.answer) else self.answer


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"y": [10] + [0] * 7}, r"y\[0\] is 10; the 10 classes are 0 to 9"),
        ({"y": [0.0] * 8}, "y is float64"),
        ({"y": [0]}, "y has 1 labels for 8 pictures"),
        ({"x": np.full((8, 1, 8, 8), 1.01)}, r"x\[0, 0, 0, 0\] is 1.01"),
        ({"x": np.full((8, 1, 8, 8), np.nan)}, "is nan"),
        ({"x": np.full((8, 1, 8, 8), 0.301)}, "between two levels of 1/255"),
        ({"x": IMAGES[:8].astype(np.int32)}, "x is int32"),
        ({"x": IMAGES[:8, :4]}, r"x has the shape \[8, 4, 8, 1\]"),
        ({"name": "pdg"}, "there is no attack 'pdg'"),
        ({"norm": "l3"}, "there is no norm 'l3'; choose from linf, l2, l1"),
        ({"eps": 8}, r"did you mean 8/255"),
        ({"eps": 0}, "eps is 0; give a number above 0"),
        ({"eps": -0.1}, "eps is -0.1"),
        ({"eps": float("nan")}, "eps is nan"),
        ({"eps": float("inf")}, "eps inf lies outside"),
        ({"eps": 1e-3}, "less than one level"),
        ({"eps": "8/0"}, "eps is '8/0'; give a number, or a fraction"),
        ({"eps": "eight"}, "eps is 'eight'"),
        ({"eps": 99.0, "norm": "l2"}, "the largest change of a picture of 8x8x1 values, in l2"),
        ({"name": "ddn", "norm": "l2", "eps": 0.1}, "takes no eps"),
        ({"step_size": 2.0}, "step_size 2 lies outside"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"restarts": 0}, "restarts is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"ensemble": "slow"}, "no ensemble 'slow'"),
        ({"ensemble": "fast"}, "pgd takes no ensemble"),
        ({"targets": "ten"}, "target 'ten' is neither"),
        ({"targets": 10}, "targets is 10"),
        ({"targets": [11] * 8}, r"targets\[0\] is 11"),
        ({"name": "apgd_dlr", "targets": "next"}, "apgd_dlr cannot aim at a target"),
        ({"threshold": 0}, "threshold is 0; give a number above 0"),
        ({"rows": [1, 2]}, r"rows is int64 \[2\]; give 8 numbers"),
        ({"rows": [-1] * 8}, "rows holds -1"),
        ({"threshold": float("inf")}, "threshold is inf"),
        ({"eps": True}, "eps is True; give a number"),
        ({"name": ["pgd"]}, r"there is no attack \['pgd'\]"),
        ({"ensemble": ["fast"]}, r"no ensemble \['fast'\]"),
        ({"y": [[1], [2, 3]]}, "y is no array of numbers"),
        ({"rows": np.full(8, 2**64 - 1, np.uint64)}, "rows holds 18446744073709551615"),
        ({"model": nn.Sequential(nn.Flatten(), nn.LazyLinear(10))}, "cannot be put in evaluation"),
        ({"model": Fixed(lambda x: torch.arange(10.0).expand(len(x), 10).clone()
                         .requires_grad_())}, "no gradient by the picture"),
        ({"rows_per_call": 8}, "has its own rows_per_call"),
        ({"model": lambda x: x}, "the model is a function; give a torch module"),
        ({"model": nn.Linear(3, 3)}, "the model raised"),
        ({"model": nn.Identity()}, r"the model returns \[64, 1, 8, 8\] for 64 pictures"),
        ({"model": Fixed(None)}, "returns a NoneType"),
        ({"model": Fixed(lambda x: x.flatten(1).softmax(dim=1))}, "probabilities"),
        ({"model": Fixed(lambda x: x.flatten(1).detach())}, "gradient"),
        ({"model": Fixed(lambda x: x.flatten(1) * np.nan)}, "not all finite"),
        ({"model": Fixed(lambda x: x.flatten(1) * 0)}, "same logit"),
    ],
)  # fmt: skip
def test_what_cannot_be_attacked_is_refused_in_one_line(
    classifier: ns.Classifier, how: dict[str, object], told: str
) -> None:
    given = {"model": classifier, "x": IMAGES[:8], "y": LABELS[:8], **how}
    with pytest.raises(ns.UserError, match=told) as caught:
        ns.attack(**given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_logits_in_a_tuple_are_found_though_nobody_named_the_classes() -> None:
    class Two(nn.Module):
        def __init__(self, features: int) -> None:
            super().__init__()
            self.linear, self.features = nn.Linear(64, 10), features

        def forward(self, x: torch.Tensor) -> object:
            return self.linear(x.flatten(1)), x if self.features else x.flatten(1)

    found = ns.attack(Two(1), IMAGES[:4], LABELS[:4], "pgd", steps=2)
    assert len(found.success) == 4
    with pytest.raises(ns.UserError, match=r"returns a tuple with 2 tensors \[N, K\]"):
        ns.attack(Two(0), IMAGES[:4], LABELS[:4], "pgd", steps=2)


def test_a_module_that_was_made_in_inference_mode_is_asked_and_left_as_it_was() -> None:
    with torch.inference_mode():
        module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert len(ns.attack(module, IMAGES[:4], LABELS[:4], "square", steps=2).success) == 4
    with pytest.raises(ns.UserError, match="Inference tensors"):
        ns.attack(module, IMAGES[:4], LABELS[:4], "pgd", steps=2)


def test_an_autocast_around_the_call_changes_nothing(classifier: ns.Classifier) -> None:
    due = ns.attack(classifier, IMAGES[:8], LABELS[:8], "pgd", eps="32/255", steps=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ns.attack(classifier, IMAGES[:8], LABELS[:8], "pgd", eps="32/255", steps=3)
    assert np.array_equal(found.adversarial, due.adversarial)
    assert np.array_equal(found.margins, due.margins)
    assert found.threshold == due.threshold


def test_a_model_that_no_gradient_reaches_can_be_attacked_by_queries() -> None:
    class Stepped(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x.mean(dim=(1, 2, 3)), 1 - x.mean(dim=(1, 2, 3))], 1).detach() * 9

    images = np.full((4, 8, 8, 1), 120, np.uint8)
    found = ns.attack(Stepped(), images, [1] * 4, "square", eps="40/255", steps=50)
    assert found.success.all()
    assert CLASSES[0] == "0"
