"""Square that gives up: its rule worked out again from the margins of the one that does not."""

from math import log2

import numpy as np
import pytest
import torch
from attack_driver import conv_network, drive, lattice_pictures

from pipeline.attacks.autoattack.brief_square import BriefSquare, BriefSquareL2
from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.square import Square
from pipeline.attacks.methods.square_l2 import SquareL2

STEPS = 600
# In steps: after each but the first a row may leave.
LOOKS = (128, 256, 512)
KINDS = ((BriefSquare, Square, Ball(Norm.LINF, 2)), (BriefSquareL2, SquareL2, Ball(Norm.L2, 9)))


@pytest.mark.parametrize(("brief", "plain", "ball"), KINDS)
def test_a_row_is_given_up_where_its_rise_by_doublings_does_not_reach_the_border(
    brief: type[Square], plain: type[Square], ball: Ball
) -> None:
    network, x = conv_network(), lattice_pictures(24)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    asked, states, _ = drive(brief(ball, STEPS), network, x, y)
    other, margins, _ = drive(plain(ball, STEPS), network, x, y)
    assert all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(asked, other, strict=True)
    )
    given_up = []
    for step in range(STEPS):
        done = states[step + 1]["done"].numpy()
        if step not in LOOKS[1:]:
            assert not done.any()
            continue
        before, now = (
            margins[at + 1]["loss"].detach().double().numpy() for at in (step // 2, step)
        )
        reach = now + 1.5 * (now - before) * log2(STEPS / step)
        clear = np.abs(reach) > 1e-5
        assert np.array_equal(done[clear], (reach <= 0)[clear])
        given_up.append(int(done.sum()))
    assert 0 < given_up[0] < 24


@pytest.mark.parametrize(("brief", "plain", "ball"), KINDS)
def test_no_row_takes_a_step_beyond_the_look_at_which_it_is_given_up(
    brief: type[Square], plain: type[Square], ball: Ball
) -> None:
    network, x = conv_network(), lattice_pictures(24)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    _, states, recorder = drive(brief(ball, STEPS), network, x, y)
    asked = torch.stack([m if m is not None else torch.ones_like(y) > 0 for m in recorder.masks])
    # In calls of 64 many of a row's squares are tried ahead.
    found = attack_rows(brief(ball, STEPS), network, x, y, torch.arange(24), rows_per_call=64)
    stood = 0
    for row in (found.clean_right & ~found.broken).nonzero().flatten().tolist():
        done = [at for at in LOOKS[1:] if states[at + 1]["done"][row]]
        last = done[0] if done else STEPS - 1
        assert int(found.forwards[row]) == 1 + int(asked[: last + 1, row].sum())
        stood += bool(done)
    assert stood > 0
    assert found.calls < asked.sum() / 24
