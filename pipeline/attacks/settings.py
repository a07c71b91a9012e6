"""Which attack, how strong: one frozen record, and the one place that maps a name to an attack."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pipeline.attacks.ascent import ascent
from pipeline.attacks.base import Model, Norm
from pipeline.attacks.fgsm import fgsm
from pipeline.attacks.pgd import pgd
from pipeline.errors import UserError
from pipeline.formats.perturbation_set import LEVELS

Attack = Callable[["AttackSettings", Model, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class AttackSettings:
    """An attack with everything that its result depends on, besides model and pictures.

    Attributes:
        attack: a name in `ATTACKS`.
        norm: the ball's norm.
        eps_levels: the ball's radius in levels of 1/255.
        steps: gradient steps; 1 for fgsm.
        step_size: α in [0, 1] units (for ascent per unit of gradient); None for the attack's own.
        seed: of the random start, where there is one.
    """

    attack: str
    norm: Norm
    eps_levels: int
    steps: int
    step_size: float | None
    seed: int

    def __post_init__(self) -> None:
        if self.attack not in ATTACKS:
            raise UserError(f"there is no attack {self.attack!r}; choose from {', '.join(ATTACKS)}")
        if self.eps_levels < 1:
            raise UserError(f"eps must be at least one level of 1/255, not {self.eps_levels}")
        if self.steps < 1:
            raise UserError(f"steps must be at least 1, not {self.steps}")
        if self.step_size is not None and not 0 < self.step_size < float("inf"):
            raise UserError(f"step_size must be positive and finite, not {self.step_size}")
        if self.attack == "fgsm" and (self.norm is not Norm.LINF or self.steps != 1):
            raise UserError("fgsm takes one step in the norm linf; use pgd for more, or for l2")
        if self.attack == "ascent" and self.step_size is None:
            raise UserError("ascent needs a step_size: the α of x ← x + α ∇ℓ, for example 100")

    @property
    def eps(self) -> float:
        """The ball's radius in [0, 1] units."""
        return self.eps_levels / LEVELS

    def run(self, model: Model, x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """The adversarial pictures of float32 ``x[N, C, H, W]`` in [0, 1], labels ``y[N]``.

        ``rows`` holds each picture's row number in its dataset split, int64 ``[N]``.
        """
        return ATTACKS[self.attack](self, model, x, y, rows)


def _ascent(s: AttackSettings, model: Model, x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
    assert s.step_size is not None  # __post_init__ saw to it
    return ascent(model, x, y, step_size=s.step_size, steps=s.steps, eps=s.eps, norm=s.norm)


def _fgsm(s: AttackSettings, model: Model, x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
    return fgsm(model, x, y, eps=s.eps)


def _pgd(s: AttackSettings, model: Model, x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
    return pgd(
        model,
        x,
        y,
        eps=s.eps,
        norm=s.norm,
        steps=s.steps,
        step_size=s.step_size,
        seed=s.seed,
        rows=rows,
    )


ATTACKS: dict[str, Attack] = {"ascent": _ascent, "fgsm": _fgsm, "pgd": _pgd}
