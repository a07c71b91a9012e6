"""AutoAttack, and a version of it that stops where little is gained.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", 2020 (arXiv 2003.01690), section 5.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pipeline.attacks.autoattack.brief_apgd import BriefApgd
from pipeline.attacks.autoattack.brief_fab import BriefFab
from pipeline.attacks.autoattack.brief_square import BriefSquare, BriefSquareL2
from pipeline.attacks.autoattack.shrinking_apgd_l1 import ShrinkingApgdL1
from pipeline.attacks.base import Norm
from pipeline.attacks.engine.ensemble import Ensemble
from pipeline.attacks.entry import AttackEntry, Strength
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.apgd import Apgd
from pipeline.attacks.methods.fab import FabTargeted
from pipeline.attacks.methods.square_attack import SQUARES
from pipeline.attacks.trust.audit import Audit
from pipeline.errors import UserError


def standard(ball: Ball) -> Ensemble:
    """The attacks of AutoAttack's standard version, with its numbers of steps, in its order.

    In L1 that version begins Auto-PGD on the cross-entropy five times, aims with it at five
    classes, and comes in from larger balls.
    """
    l1 = ball.norm is Norm.L1
    apgd, begins, aims = (ShrinkingApgdL1, 5, 5) if l1 else (Apgd, 1, 9)
    return Ensemble(
        (
            ("apgd_ce", apgd(ball, 100, "ce", begins)),
            ("apgd_targeted", apgd(ball, 100, "targeted", aims)),
            ("fab_targeted", FabTargeted(ball, 100, restarts=9)),
            ("square", SQUARES[ball.norm](ball, 5000)),
        )
    )


def fast(ball: Ball) -> Ensemble:
    """The fast version: brief attacks on all rows, then the standard ones on a sample.

    A brief attack leaves a row where it gains too little. The sample is of the rows that are left
    standing; there the attack without gradients is the alarm.

    When a row is left is a function of that row alone, and whether it is audited is drawn by its
    number, so that the rows' bytes do not depend on their company. See `BriefApgd`, `BriefFab` and
    `BriefSquare` for the rules, and docs/attacks.md for what they miss.

    Raises:
        UserError: the ball's norm is L1.
    """
    if ball.norm is Norm.L1:
        raise UserError(
            "the ensemble fast is for the norms linf and l2, not l1, where its rules for leaving a "
            "row were never measured; use --ensemble standard there"
        )
    *dear, alarm = ((f"audit_{name}", attack) for name, attack in standard(ball).attacks)
    square = {Norm.LINF: BriefSquare, Norm.L2: BriefSquareL2}[ball.norm]
    return Ensemble(
        (
            ("apgd_ce", BriefApgd(ball, 100)),
            ("apgd_targeted", BriefApgd(ball, 100, "targeted", restarts=9)),
            ("fab_targeted", BriefFab(ball, 100, restarts=9)),
            ("square", square(ball, 5000)),
        ),
        audit=Audit(tuple(dear), share=1 / 10, alarm=alarm),
    )


# The versions of it, the first of which is meant where nobody says one.
ENSEMBLES: dict[str, Callable[[Ball], Ensemble]] = {
    "standard": lambda ball: standard(ball),
    "fast": lambda ball: fast(ball),
}

if TYPE_CHECKING:
    EnsembleName = str
else:
    EnsembleName = Literal[tuple(ENSEMBLES)]


def _build(s: Strength) -> Ensemble:
    if s.steps != 1:
        raise UserError("autoattack's attacks have their own steps; leave steps out")
    return ENSEMBLES[s.ensemble or next(iter(ENSEMBLES))](s.ball)


AUTOATTACK = AttackEntry("autoattack", _build, steps=1, heeds=("ensemble",))
