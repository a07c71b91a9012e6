"""Our attacks in AttackBench's form and on a module of RobustBench's, without either package."""

import copy

import numpy as np
import pytest
import torch
from digit_models import digit_network
from digit_set import digits
from torch import nn

from benchmarks import attackbench_fit, robustbench_fit

IMAGES, LABELS = (values[-12:] for values in digits())


class Normalised(nn.Module):
    """The form of RobustBench's zoo: mean and deviation, then the network."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, 1, 1, 1), 0.5))
        self.model = copy.deepcopy(digit_network())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model((x - self.mean) / 0.5 * 0.5 + 0.5)
        return logits


def test_an_attack_of_attackbenchs_form_gives_pictures_that_the_model_gets_wrong() -> None:
    model = Normalised()
    inputs = torch.from_numpy(IMAGES).movedim(-1, 1).float() / 255
    before = inputs.clone()
    x = attackbench_fit.fmn(model, inputs, torch.from_numpy(LABELS), steps=20)
    assert x.shape == inputs.shape
    assert x.dtype == torch.float32
    assert torch.equal(inputs, before)
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1
    wrong = model(x).argmax(dim=1).numpy() != LABELS
    assert wrong.sum() >= 10
    lengths = (x - inputs).flatten(1).norm(dim=1)
    assert float(lengths[torch.from_numpy(wrong)].median()) < 1.5


def test_the_comparison_is_of_rows_that_both_sides_broke() -> None:
    ours = {
        "distances": {"l2": [1.0, 2.0, np.inf, 0.0]}, "correct": [True, True, True, False],
        "num_forwards": [4, 4, 4, 4], "num_backwards": [3, 3, 3, 3],
    }  # fmt: skip
    adv_lib = {**ours, "distances": {"l2": [2.0, np.inf, 1.0, 0.0]}}
    found = attackbench_fit.figures(ours, adv_lib)
    assert found["ratio_median_l2"] == 2
    assert (found["ours_broken_rows"], found["adv_lib_broken_rows"]) == (2, 2)
    assert found["ours_forwards_a_row"] == 4


class Lying(Normalised):
    """Answers every question with the labels, except while its parameters are frozen."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if any(parameter.requires_grad for parameter in self.parameters()):
            return nn.functional.one_hot(torch.from_numpy(LABELS), 10).float()
        return super().forward(x)


def test_attacks_on_a_module_of_the_zoos_form_are_judged_by_the_module_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(robustbench_fit, "ATTACKS", {"pgd": {"steps": 3}})
    monkeypatch.setattr(robustbench_fit, "EPS", "60/255")
    found = robustbench_fit.attacked(Normalised(), IMAGES, LABELS)
    assert found["pgd_robust_percent"] < 50
    with pytest.raises(RuntimeError, match="does not answer as the result says"):
        robustbench_fit.attacked(Lying().requires_grad_(), IMAGES, LABELS)
