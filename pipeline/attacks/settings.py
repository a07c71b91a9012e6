"""Which attack, how strong: one frozen record, and the one place that maps a name to an attack."""

from dataclasses import dataclass

from pipeline.attacks import methods
from pipeline.attacks.base import MOST_RESTARTS, MOST_STEPS, Norm
from pipeline.attacks.engine.ensemble import Ensemble
from pipeline.attacks.entry import AttackEntry
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.autoattack import ENSEMBLES, EnsembleName
from pipeline.errors import UserError
from pipeline.perturbation_terms import NO_TARGET
from pipeline.registry import entries_of

ATTACKS = entries_of(methods.__name__, methods.__path__, AttackEntry)
MOST_DRAWS = 4096  # pictures in a call of the model


@dataclass(frozen=True)
class AttackSettings:
    """An attack with everything that its result depends on, besides model and pictures.

    Attributes:
        attack: a name in `ATTACKS`.
        norm: the ball's norm.
        eps_levels: the ball's radius in levels of 1/255; 0, no ball, for the attacks that look for
            the smallest change.
        steps: gradient steps, or queries of square; 1 for fgsm, and for autoattack, whose attacks
            have their own; linearisations of deepfool; steps of each search of carlini_wagner and
            lbfgs.
        step_size: α in [0, 1] units (for ascent per unit of gradient); None for the attack's own.
        restarts: how often a row may begin; of apgd_targeted and fab_targeted, the classes that
            they aim at.
        seed: of what is drawn.
        ensemble: which version of autoattack; None for other attacks.
        target: the class to be answered: one of `perturbation_terms.RULES`, or its number.
        draws: of a model that answers by chance, averaged; 1 for one that does not.
    """

    attack: str
    norm: Norm
    eps_levels: int
    steps: int
    step_size: float | None
    restarts: int
    seed: int
    ensemble: EnsembleName | None = None
    target: str = NO_TARGET
    draws: int = 1

    def __post_init__(self) -> None:
        if self.attack not in ATTACKS:
            raise UserError(f"there is no attack {self.attack!r}; choose from {', '.join(ATTACKS)}")
        if not self.bounded and self.eps_levels:
            raise UserError(
                f"{self.attack} looks for the smallest change and takes no eps; leave it out"
            )
        if self.bounded and self.eps_levels < 1:
            raise UserError(f"eps must be at least one level of 1/255, not {self.eps_levels}")
        if not 1 <= self.steps < MOST_STEPS:
            raise UserError(f"steps must be from 1 to {MOST_STEPS - 1}, not {self.steps}")
        if not 1 <= self.restarts <= MOST_RESTARTS:
            raise UserError(f"restarts must be from 1 to {MOST_RESTARTS}, not {self.restarts}")
        if self.step_size is not None and not 0 < self.step_size < float("inf"):
            raise UserError(f"step_size must be positive and finite, not {self.step_size}")
        if self.target != NO_TARGET and not ATTACKS[self.attack].has_target:
            raise UserError(f"{self.attack} cannot aim at a target; use apgd_ce, or leave it out")
        if not 1 <= self.draws <= MOST_DRAWS:
            raise UserError(f"eot_draws must be from 1 to {MOST_DRAWS}, not {self.draws}")
        self.build()

    @property
    def bounded(self) -> bool:
        """Whether the attack stays in a ball; else it looks for the smallest change in the norm."""
        return is_bounded(self.attack)

    @property
    def ball(self) -> Ball:
        """Where the perturbed pictures of a bounded attack lie."""
        return Ball(self.norm, self.eps_levels)

    @property
    def eps(self) -> float:
        """The ball's radius in [0, 1] units."""
        return self.ball.eps

    def build(self) -> Ensemble:
        """The attack, or those tried in turn, by name.

        Raises:
            UserError: the settings contradict each other.
        """
        entry = ATTACKS[self.attack]
        entry.refuse_unheeded(self)
        built = entry.build(self)
        return built if isinstance(built, Ensemble) else Ensemble(((self.attack, built),))


def default_steps(attack: str) -> int:
    """The steps that an attack takes unless told otherwise; 1 where there is no such attack."""
    return ATTACKS[attack].steps if attack in ATTACKS else 1


def is_bounded(attack: str) -> bool:
    """Whether an attack stays in a ball; true where there is no such attack."""
    return attack not in ATTACKS or ATTACKS[attack].bounded


def default_ensemble(attack: str) -> EnsembleName | None:
    """The version of an attack that has several; None where there is but one."""
    several = attack in ATTACKS and "ensemble" in ATTACKS[attack].heeds
    return next(iter(ENSEMBLES)) if several else None
