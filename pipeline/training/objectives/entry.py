"""An objective as a person chooses it by name: how it is built, and which settings it heeds."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.training.objectives.base import Objective
from pipeline.training.objectives.inner import InnerAttack


@dataclass(frozen=True)
class ObjectiveSettings:
    """What objectives are built from.

    Attributes:
        levels: the radius ε in levels of 1/255; 0 where none was given.
        attack_steps, attack_step_size, eps_warmup: see `InnerAttack`.
        trades_beta: see `Trades`.
    """

    levels: int
    attack_steps: int
    attack_step_size: float
    eps_warmup: int
    trades_beta: float

    @property
    def attack(self) -> InnerAttack:
        """What looks for worse pictures; ValueError without a radius."""
        return InnerAttack(self.levels, self.attack_steps, self.attack_step_size, self.eps_warmup)


@dataclass(frozen=True)
class ObjectiveEntry:
    """An entry of `OBJECTIVES`.

    Attributes:
        name: what a config calls it.
        help: what ``--help`` says of it, after its name.
        build: the objective of these settings.
        heeds: which of eps, eps_warmup, attack_steps, attack_step_size and trades_beta it takes;
            where it takes eps, it needs one.
    """

    name: str
    help: str
    build: Callable[[ObjectiveSettings], Objective]
    heeds: tuple[str, ...] = ()


OF_INNER_ATTACK = ("eps", "eps_warmup", "attack_steps", "attack_step_size")
