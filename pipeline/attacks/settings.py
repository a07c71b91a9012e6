"""Which attack, how strong: one frozen record, and the one place that maps a name to an attack."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipeline.attacks.base import MOST_RESTARTS, MOST_STEPS, Norm, StepAttack
from pipeline.attacks.engine.ensemble import SQUARES, Ensemble, fast, standard
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.apgd import Apgd
from pipeline.attacks.methods.apgd_l1 import ApgdL1
from pipeline.attacks.methods.ascent import Ascent
from pipeline.attacks.methods.carlini_wagner import CarliniWagner
from pipeline.attacks.methods.ddn import Ddn
from pipeline.attacks.methods.deepfool import DeepFool
from pipeline.attacks.methods.fab import FabTargeted
from pipeline.attacks.methods.fgsm import fgsm
from pipeline.attacks.methods.fmn import Fmn
from pipeline.attacks.methods.lbfgs import Lbfgs
from pipeline.attacks.methods.mi_fgsm import MiFgsm
from pipeline.attacks.methods.pgd import Pgd
from pipeline.errors import UserError
from pipeline.formats.perturbation.target import NO_TARGET


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
        target: the class to be answered: one of `formats.perturbation.target.RULES`, or its number.
        draws: of a model that answers by chance, averaged; 1 for one that does not.
    """

    attack: str
    norm: Norm
    eps_levels: int
    steps: int
    step_size: float | None
    restarts: int
    seed: int
    ensemble: Literal["standard", "fast"] | None = None
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
        if self.target != NO_TARGET and self.attack in _NOT_TOWARDS:
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
        """The attack, or those tried in turn, by name; UserError where the settings contradict
        each other."""
        built = ATTACKS[self.attack].build(self)
        return built if isinstance(built, Ensemble) else Ensemble(((self.attack, built),))


MOST_DRAWS = 4096  # pictures in a call of the model

# The ratios of logits need three and four classes, and towards a class there are two: it, or not.
_NOT_TOWARDS = ("apgd_dlr", "apgd_targeted")

Build = Callable[[AttackSettings], StepAttack | Ensemble]


@dataclass(frozen=True)
class _Kind:
    """A named attack, or several in turn: how it is built, the steps that it takes unless told
    otherwise, and whether it stays in a ball."""

    build: Build
    steps: int
    bounded: bool = True


def default_steps(attack: str) -> int:
    """The steps that an attack takes unless told otherwise; 1 where there is no such attack."""
    return ATTACKS[attack].steps if attack in ATTACKS else 1


def is_bounded(attack: str) -> bool:
    """Whether an attack stays in a ball; true where there is no such attack."""
    return attack not in ATTACKS or ATTACKS[attack].bounded


def _only(settings: AttackSettings, *taken: str) -> None:
    """Refuses settings that the attack would silently ignore."""
    given = {
        "step_size": settings.step_size is not None,
        "restarts": settings.restarts > 1,
        "ensemble": settings.ensemble is not None,
    }
    for name, value in given.items():
        if value and name not in taken:
            raise UserError(f"{settings.attack} takes no {name}; leave it out")


def _ascent(s: AttackSettings) -> StepAttack:
    _only(s, "step_size")
    if s.step_size is None:
        raise UserError("ascent needs a step_size: the α of x ← x + α ∇ℓ, for example 100")
    return Ascent(s.ball, s.step_size, s.steps)


def _fgsm(s: AttackSettings) -> StepAttack:
    _only(s)
    if s.norm is not Norm.LINF or s.steps != 1:
        raise UserError("fgsm takes one step in the norm linf; use pgd for more, or for l2")
    return fgsm(s.ball)


def _pgd(s: AttackSettings) -> StepAttack:
    _only(s, "step_size", "restarts")
    return Pgd(s.ball, s.steps, s.step_size, restarts=s.restarts)


def _mi_fgsm(s: AttackSettings) -> StepAttack:
    _only(s)
    return MiFgsm(s.ball, s.steps)


def _apgd(loss: Literal["ce", "dlr", "targeted"]) -> Build:
    def build(s: AttackSettings) -> StepAttack:
        _only(s, "restarts")
        kind = ApgdL1 if s.norm is Norm.L1 else Apgd
        return kind(s.ball, s.steps, loss, s.restarts)

    return build


def _square(s: AttackSettings) -> StepAttack:
    _only(s)
    return SQUARES[s.norm](s.ball, s.steps)


def _fab_targeted(s: AttackSettings) -> StepAttack:
    _only(s, "restarts")
    return FabTargeted(s.ball, s.steps, s.restarts)


def _autoattack(s: AttackSettings) -> Ensemble:
    _only(s, "ensemble")
    if s.steps != 1:
        raise UserError("autoattack's attacks have their own steps; leave steps out")
    return fast(s.ball) if s.ensemble == "fast" else standard(s.ball)


def _smallest(attack: Callable[[Norm, int], StepAttack]) -> Build:
    def build(s: AttackSettings) -> StepAttack:
        _only(s)
        return attack(s.norm, s.steps)

    return build


def _smallest_l2(attack: Callable[[int], StepAttack]) -> Build:
    def build(s: AttackSettings) -> StepAttack:
        _only(s)
        if s.norm is not Norm.L2:
            raise UserError(f"{s.attack} is for the norm l2, not {s.norm.value}; use fmn there")
        return attack(s.steps)

    return build


ATTACKS: dict[str, _Kind] = {
    "ascent": _Kind(_ascent, 20),
    "fgsm": _Kind(_fgsm, 1),
    "pgd": _Kind(_pgd, 40),
    "mi_fgsm": _Kind(_mi_fgsm, 10),
    "apgd_ce": _Kind(_apgd("ce"), 100),
    "apgd_dlr": _Kind(_apgd("dlr"), 100),
    "apgd_targeted": _Kind(_apgd("targeted"), 100),
    "fab_targeted": _Kind(_fab_targeted, 100),
    "square": _Kind(_square, 5000),
    "autoattack": _Kind(_autoattack, 1),
    "deepfool": _Kind(_smallest(DeepFool), 50, bounded=False),
    "ddn": _Kind(_smallest_l2(Ddn), 100, bounded=False),
    "fmn": _Kind(_smallest(Fmn), 100, bounded=False),
    "carlini_wagner": _Kind(_smallest_l2(CarliniWagner), 100, bounded=False),
    "lbfgs": _Kind(_smallest_l2(Lbfgs), 20, bounded=False),
}
