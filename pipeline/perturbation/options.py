"""What a person can say of an attack, before it is known which kind of attack it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.attacks.base import Norm
from pipeline.attacks.geometry.ball import check_size, whole_levels
from pipeline.attacks.methods.autoattack import EnsembleName
from pipeline.attacks.settings import ATTACKS
from pipeline.errors import UserError
from pipeline.perturbation_terms import NO_TARGET

EPS_LEVELS = 8  # of 1/255, where there is a ball and nothing is said of it


@dataclass(frozen=True, kw_only=True)
class AttackOptions:
    """An attack's name, and what was said of it; None, 1 and none for nothing.

    Attributes:
        norm_is_said: whether the norm was, and is not the default.
        eps, step_size: in [0, 1] units.
        others: see `jobs.perturb.config.PerturbConfig`.
    """

    attack: str
    norm: Norm
    norm_is_said: bool
    eps: float | None
    steps: int | None
    step_size: float | None
    restarts: int
    seed: int
    ensemble: EnsembleName | None
    target: str
    eot_draws: int
    source: Path | None = None
    sample_rows: int | None = None
    sample_split: str | None = None
    loss_clip: float | None = None

    def refuse_all_but(self, heeded: Sequence[str]) -> None:
        """UserError for the first option that the attack would silently ignore."""
        said = {
            "source": self.source,
            "steps": self.steps,
            "step_size": self.step_size,
            "restarts": self.restarts - 1,
            "ensemble": self.ensemble,
            "target": self.target != NO_TARGET,
            "eot_draws": self.eot_draws - 1,
            "norm": self.norm_is_said,
            "eps": self.eps,
            "seed": self.seed,
            "sample_rows": self.sample_rows,
            "sample_split": self.sample_split,
            "loss_clip": self.loss_clip,
        }
        for name, value in said.items():
            if value and name not in heeded:
                raise UserError(f"the attack {self.attack} is not told {name}; leave it out")

    def check_sizes(self, shape: Sequence[int] = ()) -> None:
        """Raises UserError where eps or step_size is more than any change of a picture has.

        Args:
            shape: of the pictures; without it only L∞ is looked at.
        """
        lengths = {"eps": self.eps}
        entry = ATTACKS.get(self.attack)
        if entry is None or not entry.step_per_gradient:
            lengths["step_size"] = self.step_size
        for name, value in lengths.items():
            if value is not None:
                check_size(name, value, self.norm, shape)

    def eps_levels(self, *, bounded: bool) -> int:
        """The ball's radius in levels of 1/255; 0 where nothing is said and there is no ball."""
        if self.eps is not None:
            return whole_levels(self.eps, self.norm)
        return EPS_LEVELS if bounded else 0
