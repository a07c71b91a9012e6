"""FAB that gives up: its rule worked out again from the walk of the one that does not."""

import numpy as np
import pytest
import torch
from attack_driver import conv_network, drive, lattice_pictures
from linear_models import classifier_with_margin, dual_norm

from pipeline.attacks.autoattack.brief_fab import BriefFab
from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.fab import FabTargeted
from pipeline.perturbation_terms import MARGIN


@pytest.mark.parametrize(("norm", "levels"), [(Norm.LINF, 2), (Norm.L2, 8)])
def test_a_row_is_given_up_whose_nearest_wrong_answer_is_too_far_away(
    norm: Norm, levels: int
) -> None:
    network, x = conv_network(), lattice_pictures(40)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    ball, iterations = Ball(norm, levels), 30
    asked, states, _ = drive(BriefFab(ball, iterations), network, x, y)
    plain, _, recorder = drive(FabTargeted(ball, iterations), network, x, y)
    assert all(torch.equal(a, b) for a, b in zip(asked, plain, strict=True))
    # The walk's pictures are those asked forward alone right after one with a gradient.
    walk = [
        i + 1
        for i, lossless in enumerate(recorder.lossless[:-1])
        if not lossless and recorder.lossless[i + 1]
    ]
    assert len(walk) == iterations
    nearest, given_up = np.full(40, np.inf), 0
    for step, number in enumerate(walk):
        picture = plain[number]
        with torch.no_grad():
            own = network(picture).gather(1, y[:, None])[:, 0]
            best = network(picture).scatter(1, y[:, None], -torch.inf).amax(dim=1)
        order = np.inf if norm is Norm.LINF else 2
        length = np.linalg.norm((picture - x).flatten(1).double().numpy(), ord=order, axis=1)
        nearest = np.where((best - own > MARGIN).numpy(), np.minimum(nearest, length), nearest)
        done = states[step + 1]["done"].numpy()
        if step < 3:
            assert not done.any()
            continue
        reach = ball.eps * (1 + 12 / step if norm is Norm.LINF else 1 + 350 / step**2)
        clear = np.abs(nearest / reach - 1) > 1e-4
        assert np.array_equal(done[clear], (nearest > reach)[clear])
        given_up += int(done.sum())
    assert 0 < given_up < 40 * (iterations - 3)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_a_linear_classifier_breaks_as_by_the_plain_attack_and_hopeless_rows_cost_less(
    norm: Norm,
) -> None:
    model, x, y = classifier_with_margin(0.8)
    smallest = int((0.8 + MARGIN) / dual_norm(model.weight, norm) * 255) + 2
    for levels, broken in ((smallest, True), (smallest // 3, False)):
        ball, rows = Ball(norm, levels), torch.arange(2)
        brief = attack_rows(BriefFab(ball, 100, restarts=1), model, x, y, rows, rows_per_call=2)
        plain = attack_rows(FabTargeted(ball, 100, restarts=1), model, x, y, rows, rows_per_call=2)
        assert brief.broken.tolist() == plain.broken.tolist() == [broken] * 2
        if broken:
            assert torch.equal(brief.forwards, plain.forwards)
        else:
            # Some 3.1 radii away: too far from 1 + 12 / 6 and 1 + 350 / 13² on.
            assert brief.backwards.tolist() == [7 if norm is Norm.LINF else 14] * 2
