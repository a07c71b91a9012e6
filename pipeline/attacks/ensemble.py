"""Several attacks in turn, each on the rows that withstood those before: AutoAttack of Croce and
Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", 2020 (arXiv 2003.01690), section 5."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeGuard

import torch
from torch import Tensor

from pipeline.attacks.apgd import Apgd
from pipeline.attacks.ball import Ball
from pipeline.attacks.base import Model, Norm, StepAttack
from pipeline.attacks.engine import Attacked, attack_rows
from pipeline.attacks.fab import FabTargeted
from pipeline.attacks.square import Square
from pipeline.fixed_batch import padded_calls

Named = tuple[str, StepAttack]


@dataclass(frozen=True)
class AttackedInTurn(Attacked):
    """What came of several attacks on N rows.

    As `Attacked`, and ``step`` and ``restart`` count within the attack that found the picture.
    Passes are those of all attacks together; each asks about the clean picture of its rows anew.

    Attributes:
        attack: int64 ``[N]``: which of the attacks found the picture, counted from 0; 0 for the
            clean one as well.
    """

    attack: Tensor


def standard(ball: Ball) -> tuple[Named, ...]:
    """The attacks of AutoAttack's standard version, with its numbers of steps, in its order.

    In L∞ these are four. In L2 they are the three with gradients, since `Square` is for L∞.

    Raises:
        UserError: the ball's norm is L1.
    """
    with_gradients: tuple[Named, ...] = (
        ("apgd_ce", Apgd(ball, 100)),
        ("apgd_targeted", Apgd(ball, 100, "targeted", restarts=9)),
        ("fab_targeted", FabTargeted(ball, 100, restarts=9)),
    )
    if ball.norm is not Norm.LINF:
        return with_gradients
    return (*with_gradients, ("square", Square(ball, 5000)))


def attack_in_turn(
    attacks: Sequence[Named],
    model: Model,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    *,
    seed: int = 0,
    rows_per_call: int = 64,
    capacity: int | None = None,
) -> AttackedInTurn:
    """Attacks rows with one attack after the other until each is broken or has withstood all.

    A row gets from each attack what it would get from that attack alone, with the same draws. So
    the rows that are broken are those that any of the attacks would break alone. Attacks that aim
    at one class after the other are cut to the wrong classes that there are: see `for_classes`.

    Args:
        attacks: with their names, in the order in which they are tried. One that is equal to one
            before it is passed over.
        model, x, y, rows, seed, rows_per_call, capacity: see `attack_rows`.

    Raises:
        ValueError: there is no attack; else as `attack_rows`.
        UserError: as `attack_rows`.
    """
    if not attacks:
        raise ValueError("there must be at least one attack")
    if rows_per_call < 1:  # `attack_rows` says so too, but the first call comes before it
        raise ValueError(f"rows_per_call must be at least 1, not {rows_per_call}")

    def alone(attack: StepAttack, chosen: Tensor | slice) -> Attacked:
        return attack_rows(
            attack,
            model,
            x[chosen],
            y[chosen],
            rows[chosen],
            seed=seed,
            rows_per_call=rows_per_call,
            capacity=capacity,
        )

    y, rows = y.to(x.device), rows.to(x.device)
    calls = 0
    tried = [attack for _, attack in attacks]
    if x.shape[0] and any(_aims(attack) for attack in tried):
        classes, calls = _num_classes(model, x, rows_per_call), 1
        tried = [for_classes(attack, classes) for attack in tried]
    first = alone(tried[0], slice(None))
    values = {f.name: getattr(first, f.name) for f in fields(first)}
    calls += values.pop("calls")
    values["attack"] = torch.zeros_like(first.step)
    for number, attack in enumerate(tried[1:], start=1):
        standing = (first.clean_right & ~values["broken"]).nonzero().flatten()
        # The same attack would draw the same numbers again.
        if attack in tried[:number] or not len(standing):
            continue
        found = alone(attack, standing)
        calls += found.calls
        better = found.margin > values["margin"][standing]
        at = standing[better]
        for name in ("adversarial", "margin", "broken", "step", "restart"):
            values[name][at] = getattr(found, name)[better]
        values["attack"][at] = number
        for name in ("forwards", "backwards"):
            values[name][standing] += getattr(found, name)
    return AttackedInTurn(**values, calls=calls)


def for_classes(attack: StepAttack, classes: int) -> StepAttack:
    """The attack that stands for this one where there are so many classes.

    Attacks that aim at one class after the other begin once for each wrong class at most. The
    targeted ratio of logits needs four classes: with three, the ratio without a target stands for
    it, and with two the cross-entropy, which is then a function of the one difference of logits.
    """
    if isinstance(attack, Apgd) and attack.loss == "targeted" and classes < 4:
        return replace(attack, loss="dlr" if classes == 3 else "ce", restarts=1)
    if _aims(attack):
        return replace(attack, restarts=min(attack.restarts, classes - 1))
    return attack


def _aims(attack: StepAttack) -> TypeGuard[Apgd | FabTargeted]:
    """Whether each beginning aims at another class."""
    return isinstance(attack, FabTargeted) or (
        isinstance(attack, Apgd) and attack.loss == "targeted"
    )


def _num_classes(model: Model, x: Tensor, rows_per_call: int) -> int:
    """By one call about the first picture, of the number of rows that all calls have."""
    _, (part,) = next(padded_calls(x[:1], rows_per_call=rows_per_call))
    with torch.no_grad():
        return model(part).shape[1]
