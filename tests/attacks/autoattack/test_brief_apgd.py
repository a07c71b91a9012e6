"""Auto-PGD that gives up: its rule worked out again from the losses of the one that does not."""

from typing import Literal

import numpy as np
import pytest
import torch
from attack_driver import conv_network, drive, lattice_pictures
from linear_models import classifier_with_margin, dual_norm
from torch import Tensor

from pipeline.attacks import losses
from pipeline.attacks.autoattack.brief_apgd import BriefApgd
from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.apgd import Apgd, checkpoints
from pipeline.perturbation_terms import MARGIN

LossName = Literal["ce", "dlr", "targeted"]
BALL = Ball(Norm.LINF, 3)


@pytest.mark.parametrize("loss", ["ce", "dlr", "targeted"])
def test_a_row_is_given_up_where_a_line_of_twice_its_slope_does_not_reach_the_border(
    loss: LossName,
) -> None:
    network, x = conv_network(), lattice_pictures(40)

    def model(x: Tensor) -> Tensor:
        return 20 * network(x)  # else no class has half of the probability

    with torch.no_grad():
        y = model(x).argmax(dim=1)
    asked, states, _ = drive(BriefApgd(BALL, 50, loss), model, x, y)
    plain, _, _ = drive(Apgd(BALL, 50, loss), model, x, y)
    assert all(torch.equal(a, b) for a, b in zip(asked, plain, strict=True))
    with torch.no_grad():
        logits = [model(picture) for picture in asked]
        target = states[0]["target"]
        raised = {
            "ce": lambda z: losses.log_odds(z, y),
            "dlr": lambda z: losses.logits_ratio(z, y),
            "targeted": lambda z: losses.targeted_logits_ratio(z, y, target),
        }[loss]
        best = np.maximum.accumulate(np.stack([raised(z).numpy() for z in logits]))
    given_up = 0
    ends = {at: before for before, at in checkpoints(50)}
    for step in range(51):
        done = states[step + 1]["done"].numpy()
        if step not in ends:
            assert not done.any()
            continue
        a, b = best[ends[step]].astype(np.float64), best[step].astype(np.float64)
        at_the_end = b + 2 * (b - a) / (step - ends[step]) * (50 - step)
        clear = np.abs(at_the_end) > 1e-5
        assert np.array_equal(done[clear], (at_the_end <= 0)[clear])
        given_up += int(done.sum())
    assert 0 < given_up < 40 * len(ends)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_a_linear_classifier_breaks_as_by_the_plain_attack_and_hopeless_rows_cost_less(
    norm: Norm,
) -> None:
    model, x, y = classifier_with_margin(0.8)
    smallest = int((0.8 + MARGIN) / dual_norm(model.weight, norm) * 255) + 2
    for levels, broken in ((smallest, True), (smallest // 3, False)):
        ball = Ball(norm, levels)
        brief = attack_rows(BriefApgd(ball, 100), model, x, y, torch.arange(2), rows_per_call=2)
        plain = attack_rows(Apgd(ball, 100), model, x, y, torch.arange(2), rows_per_call=2)
        assert brief.broken.tolist() == plain.broken.tolist() == [broken] * 2
        if broken:
            assert torch.equal(brief.forwards, plain.forwards)
        else:
            assert (brief.forwards < plain.forwards / 1.5).all()
