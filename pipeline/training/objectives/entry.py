"""An objective as a person chooses it by name: how it is built, and which settings it heeds."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.training.objectives.ascent_l2 import AscentL2
from pipeline.training.objectives.base import Objective
from pipeline.training.objectives.inner import InnerAttack
from pipeline.training.objectives.noisy import NoisyCopies


@dataclass(frozen=True)
class ObjectiveSettings:
    """What objectives are built from.

    Attributes:
        levels: the radius ε in levels of 1/255; 0 where none was given.
        eps_l2: the radius ε of objectives whose ball is an L2 one; 0 where none was given.
        attack_steps, attack_step_size, eps_warmup: see `InnerAttack` and `AscentL2`.
        trades_beta: see `Trades`.
        noise_sigma, noise_draws: see `NoisyCopies`; σ is 0 where none was given.
        consistency_weight, entropy_weight: see `Consistency`.
        worst_weight: see `CatRs`.
    """

    levels: int
    attack_steps: int
    attack_step_size: float
    eps_warmup: int
    trades_beta: float
    eps_l2: float
    noise_sigma: float
    noise_draws: int
    consistency_weight: float
    entropy_weight: float
    worst_weight: float

    @property
    def attack(self) -> InnerAttack:
        """What looks for worse pictures; ValueError without a radius."""
        return InnerAttack(self.levels, self.attack_steps, self.attack_step_size, self.eps_warmup)

    @property
    def ascent(self) -> AscentL2:
        """What looks for worse pictures in L2; UserError without a radius."""
        return AscentL2(self.eps_l2, self.attack_steps, self.attack_step_size, self.eps_warmup)

    @property
    def copies(self) -> NoisyCopies:
        """Noisy copies of a picture; UserError without a σ."""
        return NoisyCopies(self.noise_sigma, self.noise_draws)


@dataclass(frozen=True)
class ObjectiveEntry:
    """An entry of `OBJECTIVES`.

    Attributes:
        name: what a config calls it.
        help: what ``--help`` says of it, after its name.
        build: the objective of these settings.
        heeds: which keys of `train-classifier` it takes, of those that only some objectives take;
            where it takes eps, eps_l2 or noise_sigma, it needs one.
    """

    name: str
    help: str
    build: Callable[[ObjectiveSettings], Objective]
    heeds: tuple[str, ...] = ()


_OF_ATTACK = ("eps_warmup", "attack_steps", "attack_step_size")
OF_INNER_ATTACK = ("eps", *_OF_ATTACK)
OF_ASCENT_L2 = ("eps_l2", *_OF_ATTACK)
OF_NOISE = ("noise_sigma", "noise_draws")
