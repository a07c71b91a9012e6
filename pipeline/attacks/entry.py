"""An attack as a person chooses it by name: how it is built, and which settings it heeds.

Each file of `pipeline.attacks.methods` puts its entry, or entries, at its top.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.attacks.base import Norm, StepAttack
from pipeline.attacks.engine.ensemble import Ensemble
from pipeline.attacks.geometry.ball import Ball
from pipeline.errors import UserError


class Strength(Protocol):
    """What an attack is built from; see `pipeline.attacks.settings.AttackSettings`."""

    @property
    def attack(self) -> str: ...

    @property
    def norm(self) -> Norm: ...

    @property
    def ball(self) -> Ball: ...

    @property
    def steps(self) -> int: ...

    @property
    def step_size(self) -> float | None: ...

    @property
    def restarts(self) -> int: ...

    @property
    def ensemble(self) -> str | None: ...


@dataclass(frozen=True)
class AttackEntry:
    """A named attack, or several in turn.

    Attributes:
        name: what a config gives.
        build: the attack of these settings; UserError where they contradict each other.
        steps: that it takes where none are given.
        bounded: whether it stays in a ball; else it looks for the smallest change in the norm.
        heeds: which of step_size, restarts and ensemble it takes.
        has_target: whether it can aim at a class.
        step_per_gradient: whether its step_size is a factor of the gradient, and no length.
    """

    name: str
    build: Callable[[Strength], StepAttack | Ensemble]
    steps: int
    bounded: bool = True
    heeds: tuple[str, ...] = ()
    has_target: bool = True
    step_per_gradient: bool = False

    def refuse_unheeded(self, s: Strength) -> None:
        """UserError for the first setting that the attack would silently ignore."""
        changed = {
            "step_size": s.step_size is not None,
            "restarts": s.restarts > 1,
            "ensemble": s.ensemble is not None,
        }
        for name, value in changed.items():
            if value and name not in self.heeds:
                raise UserError(f"{self.name} takes no {name}; leave it out")


def only_l2(attack: Callable[[int], StepAttack]) -> Callable[[Strength], StepAttack]:
    """Builds an attack of so many steps that knows the norm L2 alone."""

    def build(s: Strength) -> StepAttack:
        if s.norm is not Norm.L2:
            raise UserError(
                f"{s.attack} is for the norm l2, not {s.norm.value}; say norm l2, or use fmn there"
            )
        return attack(s.steps)

    return build
