"""Attack settings: what contradicts itself is refused, and each name builds its own attack."""

from typing import get_args

import pytest

from jobs.perturb.config import PerturbConfig
from pipeline.attacks.base import MOST_RESTARTS, MOST_STEPS, Norm, NormName, StepAttack
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.apgd import Apgd
from pipeline.attacks.methods.apgd_l1 import ApgdL1
from pipeline.attacks.methods.ascent import Ascent
from pipeline.attacks.methods.autoattack import ENSEMBLES, EnsembleName, fast, standard
from pipeline.attacks.methods.carlini_wagner import CarliniWagner
from pipeline.attacks.methods.ddn import Ddn
from pipeline.attacks.methods.deepfool import DeepFool
from pipeline.attacks.methods.fab import FabTargeted
from pipeline.attacks.methods.fgsm import fgsm
from pipeline.attacks.methods.fmn import Fmn
from pipeline.attacks.methods.lbfgs import Lbfgs
from pipeline.attacks.methods.mi_fgsm import MiFgsm
from pipeline.attacks.methods.pgd import Pgd
from pipeline.attacks.methods.square import Square
from pipeline.attacks.methods.square_l2 import SquareL2
from pipeline.attacks.settings import (
    ATTACKS,
    AttackSettings,
    default_ensemble,
    default_steps,
    is_bounded,
)
from pipeline.errors import UserError

LINF8 = Ball(Norm.LINF, 8)


def settings(**change: object) -> AttackSettings:
    values: dict[str, object] = {
        "attack": "pgd",
        "norm": Norm.LINF,
        "eps_levels": 8,
        "steps": 5,
        "step_size": None,
        "restarts": 1,
        "seed": 3,
        **change,
    }
    return AttackSettings(**values)  # type: ignore[arg-type]


BUILT: list[tuple[dict[str, object], StepAttack]] = [
    ({}, Pgd(LINF8, 5)),
    (
        {"norm": Norm.L1, "eps_levels": 300, "step_size": 0.1, "restarts": 4},
        Pgd(Ball(Norm.L1, 300), 5, 0.1, restarts=4),
    ),
    ({"attack": "fgsm", "steps": 1}, fgsm(LINF8)),
    (
        {"attack": "ascent", "norm": Norm.L2, "step_size": 0.1},
        Ascent(Ball(Norm.L2, 8), 0.1, 5),
    ),
    ({"attack": "mi_fgsm"}, MiFgsm(LINF8, 5)),
    ({"attack": "apgd_ce", "restarts": 2}, Apgd(LINF8, 5, "ce", 2)),
    ({"attack": "apgd_dlr", "norm": Norm.L2}, Apgd(Ball(Norm.L2, 8), 5, "dlr")),
    ({"attack": "apgd_dlr", "norm": Norm.L1}, ApgdL1(Ball(Norm.L1, 8), 5, "dlr")),
    ({"attack": "apgd_targeted", "restarts": 9}, Apgd(LINF8, 5, "targeted", 9)),
    ({"attack": "fab_targeted", "restarts": 9}, FabTargeted(LINF8, 5, 9)),
    ({"attack": "square", "steps": 1000}, Square(LINF8, 1000)),
    ({"attack": "square", "norm": Norm.L2}, SquareL2(Ball(Norm.L2, 8), 5)),
    ({"attack": "deepfool", "eps_levels": 0}, DeepFool(Norm.LINF, 5)),
    ({"attack": "fmn", "eps_levels": 0, "norm": Norm.L1}, Fmn(Norm.L1, 5)),
    ({"attack": "ddn", "eps_levels": 0, "norm": Norm.L2}, Ddn(5)),
    ({"attack": "carlini_wagner", "eps_levels": 0, "norm": Norm.L2}, CarliniWagner(5)),
    ({"attack": "lbfgs", "eps_levels": 0, "norm": Norm.L2}, Lbfgs(5)),
]


@pytest.mark.parametrize(("change", "expected"), BUILT)
def test_each_name_builds_its_attack_with_the_settings(
    change: dict[str, object], expected: StepAttack
) -> None:
    ((name, built),) = settings(**change).build().attacks
    assert name == change.get("attack", "pgd")
    assert built == expected
    assert built.restarts == change.get("restarts", 1)


def test_autoattack_is_its_standard_version_with_its_own_steps() -> None:
    for version in (None, "standard"):
        built = settings(attack="autoattack", steps=1, ensemble=version).build()
        assert built == standard(LINF8)
    assert standard(LINF8).names == ("apgd_ce", "apgd_targeted", "fab_targeted", "square")
    assert settings(attack="autoattack", steps=1, ensemble="fast").build() == fast(LINF8)


def test_every_name_is_built_above() -> None:
    built = {change.get("attack", "pgd") for change, _ in BUILT}
    assert built | {"autoattack"} == set(ATTACKS)


@pytest.mark.parametrize("attack", list(ATTACKS))
def test_the_steps_unless_told_otherwise_are_allowed(attack: str) -> None:
    step_size = 100.0 if attack == "ascent" else None
    settings(
        attack=attack,
        steps=default_steps(attack),
        step_size=step_size,
        eps_levels=8 if is_bounded(attack) else 0,
        norm=Norm.L2 if attack in ("ddn", "carlini_wagner", "lbfgs") else Norm.LINF,
    )


def test_the_steps_unless_told_otherwise_are_the_attacks_own() -> None:
    for attack, own in (
        ("pgd", Pgd(LINF8).steps),
        ("fgsm", fgsm(LINF8).steps),
        ("mi_fgsm", MiFgsm(LINF8).steps),
        ("apgd_ce", Apgd(LINF8).steps),
        ("apgd_dlr", Apgd(LINF8).steps),
        ("apgd_targeted", Apgd(LINF8).steps),
        ("fab_targeted", FabTargeted(LINF8).iterations),
        ("square", Square(LINF8).steps),
        ("deepfool", DeepFool().iterations),
        ("ddn", Ddn().steps),
        ("fmn", Fmn().steps),
        ("carlini_wagner", CarliniWagner().steps),
        ("lbfgs", Lbfgs().steps),
    ):
        assert default_steps(attack) == own, attack


def test_the_radius_is_the_levels_over_255() -> None:
    assert settings(eps_levels=51).eps == 0.2
    assert settings(norm=Norm.L2, eps_levels=510).ball == Ball(Norm.L2, 510)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attack": "deepfaker"}, "no attack 'deepfaker'; choose from ascent, apgd_ce, apgd_dlr"),
        ({"attack": "fmn"}, "fmn looks for the smallest change and takes no eps"),
        ({"attack": "deepfool", "eps_levels": 0, "restarts": 2}, "deepfool takes no restarts"),
        ({"attack": "deepfool", "eps_levels": 0, "norm": Norm.L1}, "use fmn there"),
        ({"attack": "fmn", "eps_levels": 0, "step_size": 0.1}, "fmn takes no step_size"),
        (
            {"attack": "ddn", "eps_levels": 0},
            "ddn is for the norm l2, not linf; say norm l2, or use fmn",
        ),
        ({"attack": "lbfgs", "eps_levels": 0}, "lbfgs is for the norm l2"),
        ({"attack": "carlini_wagner", "eps_levels": 0}, "carlini_wagner is for the norm l2"),
        ({"attack": "fgsm"}, "fgsm takes one step"),
        ({"attack": "fgsm", "steps": 1, "norm": Norm.L2}, "norm linf"),
        ({"attack": "fgsm", "steps": 1, "step_size": 0.1}, "fgsm takes no step_size"),
        ({"attack": "fgsm", "steps": 1, "restarts": 2}, "fgsm takes no restarts"),
        ({"attack": "ascent"}, "ascent needs a step_size"),
        ({"attack": "ascent", "step_size": 1.0, "restarts": 2}, "ascent takes no restarts"),
        ({"attack": "mi_fgsm", "step_size": 0.1}, "mi_fgsm takes no step_size"),
        ({"attack": "mi_fgsm", "restarts": 2}, "mi_fgsm takes no restarts"),
        ({"attack": "apgd_ce", "step_size": 0.1}, "apgd_ce takes no step_size"),
        ({"attack": "apgd_dlr", "step_size": 0.1}, "apgd_dlr takes no step_size"),
        ({"attack": "apgd_targeted", "step_size": 0.1}, "apgd_targeted takes no step_size"),
        ({"attack": "autoattack"}, "have their own steps; leave steps out"),
        ({"attack": "autoattack", "steps": 1, "restarts": 2}, "autoattack takes no restarts"),
        (
            {"attack": "autoattack", "steps": 1, "norm": Norm.L1, "ensemble": "fast"},
            "fast is for the norms linf and l2, not l1",
        ),
        ({"attack": "apgd_dlr", "target": "next"}, "apgd_dlr cannot aim at a target"),
        ({"attack": "apgd_targeted", "target": "3"}, "apgd_targeted cannot aim at a target"),
        ({"ensemble": "fast"}, "pgd takes no ensemble; leave it out"),
        ({"attack": "fab_targeted", "step_size": 0.1}, "fab_targeted takes no step_size"),
        ({"attack": "square", "step_size": 0.1}, "square takes no step_size"),
        ({"attack": "square", "restarts": 2}, "square takes no restarts"),
        ({"draws": 0}, "eot_draws must be from 1 to 4096, not 0"),
        ({"steps": 0}, "steps must be from 1 to 16383, not 0"),
        ({"steps": MOST_STEPS}, "steps must be from 1 to 16383, not 16384"),
        ({"restarts": 0}, "restarts must be from 1 to 1024, not 0"),
        ({"restarts": MOST_RESTARTS + 1}, "restarts must be from 1 to 1024, not 1025"),
        ({"eps_levels": 0}, "at least one level"),
        ({"step_size": float("nan")}, "step_size must be positive"),
        ({"step_size": float("inf")}, "step_size must be positive"),
        ({"step_size": 0.0}, "step_size must be positive"),
        ({"step_size": -1.0}, "step_size must be positive"),
    ],
)
def test_contradictions_are_user_errors(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(**change)


def test_configs_offer_the_norms_and_the_versions_of_autoattack_that_there_are() -> None:
    offered = PerturbConfig.model_fields
    assert offered["norm"].annotation == NormName
    assert get_args(NormName) == tuple(norm.value for norm in Norm)
    assert offered["ensemble"].annotation == EnsembleName | None
    assert get_args(EnsembleName) == tuple(ENSEMBLES)
    assert default_ensemble("autoattack") == "standard"
    assert default_ensemble("pgd") is None
