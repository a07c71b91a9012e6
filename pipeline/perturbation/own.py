"""A user's own attack, as perturbation sets are made with it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from pipeline.attacks.methods.own import OwnAttack, attack_with, takes_eps
from pipeline.attacks.trust.repeatability import Repeat
from pipeline.formats.perturbation.warnings import LOST, NOT_REPEATABLE, SEED_IGNORED
from pipeline.importable import is_importable
from pipeline.perturbation.attack import (
    CleanRows,
    PerturbedRows,
    PerturbRows,
    SetAttack,
    Totals,
)
from pipeline.perturbation.options import AttackOptions
from pipeline.perturbation.workplace import Workplace
from pipeline.perturbation_terms import TrustWarning
from pipeline.pictures import from_unit, to_unit


@dataclass(frozen=True)
class Own(SetAttack):
    """An attack that is given as ``module:function``."""

    settings: OwnAttack
    heeds: ClassVar[tuple[str, ...]] = ("norm", "eps", "seed")

    @classmethod
    def is_called(cls, name: str) -> bool:
        """Whether it is a name to import."""
        return is_importable(name)

    @classmethod
    def of(cls, options: AttackOptions) -> "Own":
        levels = options.eps_levels(bounded=takes_eps(options.attack))
        return cls(OwnAttack(options.attack, options.norm, levels, options.seed))

    def own_record(self) -> dict[str, Any]:
        once = {"steps": 1, "step_size": None, "restarts": 1}
        return {**once, "source_sha256": self.settings.source_sha256}

    def on(self, place: Workplace) -> PerturbRows:
        """See `SetAttack`; of the first rows a batch is attacked twice."""
        classifier = place.classifier

        def perturb(clean: CleanRows) -> PerturbedRows:
            labels, rows = (
                torch.from_numpy(values.copy()).to(classifier.device)
                for values in (clean.labels, clean.rows)
            )
            attacked = attack_with(
                self.settings,
                classifier,
                to_unit(clean.images).to(classifier.device),
                labels,
                rows,
                rows_per_call=classifier.rows_per_call,
                repeat_first=clean.first,
                threshold=place.threshold,
            )
            return PerturbedRows(
                from_unit(attacked.adversarial),
                [self.settings.attack] * len(clean.rows),
                attacked.step.cpu().numpy(),
                attacked.restart.cpu().numpy(),
                attacked.forwards.cpu().numpy(),
                attacked.backwards.cpu().numpy(),
                lost=int(attacked.lost.sum()),
                repeat=attacked.repeat,
            )

        return perturb

    def report(self, totals: Totals) -> dict[str, Any]:
        """Whether the attack is reproducible, and why."""
        return _repeat_report(totals.repeat)

    def warnings(self, totals: Totals) -> list[TrustWarning]:
        lost, clean_right = totals.counts["lost"], totals.counts["clean_right"]
        return [*_lost_warnings(lost, clean_right), *_repeat_warnings(totals.repeat)]


def _lost_warnings(lost: int, clean_right: int) -> list[TrustWarning]:
    """What is said of a user's attack whose pictures did not keep to the ball, or to 8 bits."""
    if not lost:
        return []
    text = (
        f"{lost:,} pictures that the attack itself broke are classified rightly once they are "
        "inside the ball and in 8 bits: it may leave the ball, or rely on what rounding takes away"
    )
    return [TrustWarning(LOST, lost, clean_right, text)]


def _repeat_warnings(repeat: Repeat | None) -> list[TrustWarning]:
    """What is said of a user's attack that ends otherwise, or sets a global generator itself."""
    if repeat is None:
        return []
    libraries = " and ".join(repeat.reseeded)
    itself = f"it sets the generator of {libraries} itself" if libraries else ""
    if repeat.differing:
        text = (
            f"{repeat.differing:,} of {repeat.rows:,} pictures of the first batch came out "
            f"otherwise when they were attacked again with the same seed"
            f"{', and ' + itself if itself else ''}: the same command does not give the same set; "
            "give the attack a seed, for instance torch.initial_seed(), which --seed decides"
        )
        return [TrustWarning(NOT_REPEATABLE, repeat.differing, repeat.rows, text)]
    if not libraries:
        return []
    text = (
        f"the attack does not heed --seed: {itself}, and the first batch of {repeat.rows:,} came "
        "out alike again, so all seeds and all batches draw the same noise; give it "
        "torch.initial_seed(), which --seed and the batch decide, as its seed"
    )
    return [TrustWarning(SEED_IGNORED, repeat.rows, repeat.rows, text)]


def _repeat_report(repeat: Repeat | None) -> dict[str, Any]:
    """The manifest's entries on whether a user's attack is reproducible, and why.

    It is None where the first shard had no picture to attack.
    """
    if repeat is None:
        return {"reproducible": None, "reproducible_why": "the first shard had nothing to attack"}
    if repeat.differing:
        return {"reproducible": False, "reproducible_why": _repeat_warnings(repeat)[0].text}
    why = f"the first batch, of {repeat.rows} rows, ended in the same bits twice with one seed"
    return {"reproducible": True, "reproducible_why": why}
