"""Square attack in L2: the paper's bump by hand, and what a step leaves as it was."""

from math import isclose

import pytest
import torch
from attack_driver import (
    FreeBall,
    conv_network,
    drive,
    lattice_pictures,
    moved_from,
    some_rows,
)
from linear_models import TwoClassLinear, dual_norm

from pipeline.attacks import losses
from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.square_l1 import SquareL1
from pipeline.attacks.methods.square_l2 import SquareL2, two_bumps
from pipeline.errors import UserError

GREY = 120.0 / 255
BOTH = pytest.mark.parametrize("attack", [SquareL2, SquareL1])  # what they promise alike


def bump_by_hand(high: int, wide: int) -> list[list[float]]:
    n = high // 2
    return [
        [
            sum(
                1 / (n + 1 - k) ** 2
                for k in range(n - max(abs(r - high // 2 - 1), abs(s - wide // 2 - 1)) + 1)
            )
            for s in range(1, wide + 1)
        ]
        for r in range(1, high + 1)
    ]


@pytest.mark.parametrize("side", [2, 3, 5, 9])
def test_a_window_is_the_papers_bump_beside_its_negative(side: int) -> None:
    half = side // 2
    left, right = bump_by_hand(side, half), bump_by_hand(side, side - half)
    expected = [a + [-v for v in b] for a, b in zip(left, right, strict=True)]
    torch.testing.assert_close(two_bumps(side), torch.tensor(expected))


@pytest.mark.parametrize("step", [1, 60, 700, 4500])
def test_a_step_moves_the_length_of_one_window_to_another_and_leaves_the_rest(step: int) -> None:
    ball = FreeBall(Norm.L2, 100)
    attack = SquareL2(ball)
    clean = torch.full((30, 3, 12, 12), GREY)
    generator = torch.Generator().manual_seed(step)
    change = torch.randn(clean.shape, generator=generator)
    change = 0.9 * ball.eps * change / change.flatten(1).norm(dim=1)[:, None, None, None]
    moved = moved_from(clean + change, clean, attack, step)
    side = int(attack._odd_sides(torch.tensor([step]), clean)[0])
    assert side % 2 == 1
    for before, after in zip(change, moved, strict=True):
        other = ((after - before).abs() > 1e-6).any(dim=0)
        empty = (after.abs() < 1e-7).all(dim=0)
        # What changed lies in two windows; what is empty and not overwritten was the second one.
        assert side**2 <= int(other.sum()) <= 2 * side**2
        assert int(empty.sum()) == int(other.sum()) - side**2
        # The box is far, so all of the radius is used: the spare part is shared by the channels.
        assert isclose(float(after.norm()), ball.eps, rel_tol=1e-4)
        for channel in range(3):
            kept = before[channel][other].norm() ** 2 + (1 - 0.81) * ball.eps**2 / 3
            assert isclose(float(after[channel][other].norm() ** 2), float(kept), rel_tol=1e-3)


@BOTH
def test_from_nothing_the_window_is_the_bump_itself(attack: type[SquareL2]) -> None:
    ball = FreeBall(attack.norm, 100)
    clean = torch.full((40, 1, 12, 12), GREY)
    moved = moved_from(clean.clone(), clean, attack(ball), 4500)
    bump = two_bumps(3, attack.fall_off)
    order = 2 if attack.norm is Norm.L2 else 1
    bump = bump / torch.linalg.vector_norm(bump, ord=order) * ball.eps
    kinds = set()
    for after in moved[:, 0]:
        ys, xs = (after.abs() > 1e-6).nonzero().T
        window = after[ys.min() : ys.min() + 3, xs.min() : xs.min() + 3]
        for name, wanted in (("as it is", bump), ("turned", bump.T)):
            for sign in (1, -1):
                if torch.allclose(window, sign * wanted, atol=1e-5):
                    kinds.add((name, sign))
    assert len(kinds) == 4


def test_the_first_picture_is_of_tiles_and_as_long_as_the_radius() -> None:
    ball = FreeBall(Norm.L2, 100)
    clean = torch.full((6, 2, 11, 12), GREY)
    point = SquareL2(ball).begin(some_rows(clean))["point"] - clean
    torch.testing.assert_close(point.flatten(1).norm(dim=1), torch.full((6,), ball.eps))
    tile = two_bumps(2)
    for picture in point.flatten(0, 1):
        inner = picture[:10, 1:11]
        assert int((picture != 0).sum()) == 100
        scale = inner.abs().max() / tile.abs().max()
        for top in range(0, 10, 2):
            for left in range(0, 10, 2):
                block = inner[top : top + 2, left : left + 2]
                assert any(torch.allclose(block, s * scale * tile, atol=1e-6) for s in (1, -1))


@BOTH
def test_the_margin_never_falls_and_every_picture_lies_in_the_ball(
    attack: type[SquareL2],
) -> None:
    network, x = conv_network(), lattice_pictures(12)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    ball = Ball(attack.norm, 150 if attack.norm is Norm.L2 else 500)
    asked, states, recorder = drive(attack(ball, 60), network, x, y)
    best = torch.full((12,), -torch.inf)
    for picture, mask, state in zip(asked, recorder.masks, states[1:], strict=True):
        assert ball.contains(picture[mask], x[mask]).all()
        with torch.no_grad():
            margin = losses.margin(network(picture), y).nan_to_num(nan=-torch.inf)  # unasked
        best = torch.maximum(best, margin)
        torch.testing.assert_close(state["loss"], best)


def test_a_linear_classifier_breaks_in_a_ball_little_larger_than_its_distance() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(1, 6, 6, generator=generator)
    x = torch.randint(100, 150, (1, 1, 6, 6), generator=generator).float() / 255
    x, y = x.repeat(3, 1, 1, 1), torch.ones(3, dtype=torch.int64)
    model = TwoClassLinear(weight, 0.0)
    model.bias = 0.8 - float(model.margin(x)[0])
    distance = 0.8 / dual_norm(weight, Norm.L2) * 255
    for part, broken in ((0.98, False), (1.8, True)):
        attack = SquareL2(Ball(Norm.L2, round(part * distance)), 250)
        found = attack_rows(attack, model, x, y, torch.arange(3), rows_per_call=3)
        assert found.broken.tolist() == [broken] * 3
        assert found.backwards.tolist() == [0] * 3


@pytest.mark.parametrize("kind", [SquareL2, SquareL1])
def test_rows_do_not_depend_on_their_company(kind: type[SquareL2]) -> None:
    network, x = conv_network(), lattice_pictures(10)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    levels = 100 if kind.norm is Norm.L2 else 400
    rows, attack = torch.arange(10), kind(Ball(kind.norm, levels), 40)
    whole = attack_rows(attack, network, x, y, rows, rows_per_call=4, capacity=3)
    part = attack_rows(attack, network, x[6:], y[6:], rows[6:], rows_per_call=4)
    for name in ("adversarial", "margin", "step", "forwards"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[6:]), name


@pytest.mark.parametrize(
    ("attack", "norm"),
    [(a, norm) for a in (SquareL2, SquareL1) for norm in Norm if norm is not a.norm],
)
def test_other_norms_are_user_errors(attack: type[SquareL2], norm: Norm) -> None:
    with pytest.raises(UserError, match=f"for the norm {attack.norm.value}"):
        attack(Ball(norm, 100))
