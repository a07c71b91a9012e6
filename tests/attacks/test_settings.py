"""Attack settings: what contradicts itself is refused, and each name runs its own attack."""

import pytest
import torch
from linear_models import classifier_with_margin

from pipeline.attacks.ascent import ascent
from pipeline.attacks.base import Norm
from pipeline.attacks.fgsm import fgsm
from pipeline.attacks.pgd import pgd
from pipeline.attacks.settings import AttackSettings
from pipeline.errors import UserError


def settings(**change: object) -> AttackSettings:
    values: dict[str, object] = {
        "attack": "pgd",
        "norm": Norm.LINF,
        "eps_levels": 8,
        "steps": 5,
        "step_size": None,
        "seed": 3,
        **change,
    }
    return AttackSettings(**values)  # type: ignore[arg-type]


def test_each_name_runs_its_attack_with_the_settings() -> None:
    model, x, y = classifier_with_margin(0.4)
    rows, eps = torch.tensor([5, 6]), 8 / 255
    assert torch.equal(
        settings().run(model, x, y, rows), pgd(model, x, y, eps=eps, steps=5, seed=3, rows=rows)
    )
    assert torch.equal(
        settings(attack="fgsm", steps=1).run(model, x, y, rows), fgsm(model, x, y, eps=eps)
    )
    assert torch.equal(
        settings(attack="ascent", norm=Norm.L2, step_size=0.1).run(model, x, y, rows),
        ascent(model, x, y, step_size=0.1, steps=5, eps=eps, norm=Norm.L2),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attack": "deepfool"}, "no attack 'deepfool'; choose from ascent, fgsm, pgd"),
        ({"attack": "fgsm"}, "fgsm takes one step"),
        ({"attack": "fgsm", "steps": 1, "norm": Norm.L2}, "norm linf"),
        ({"attack": "ascent"}, "ascent needs a step_size"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"eps_levels": 0}, "at least one level"),
        ({"step_size": float("nan")}, "step_size must be positive"),
        ({"step_size": -1.0}, "step_size must be positive"),
    ],
)
def test_contradictions_are_user_errors(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(**change)
