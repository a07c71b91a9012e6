"""Noisestack's attacks, one alone or several in turn, as perturbation sets are made with them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pipeline.attacks.base import Model
from pipeline.attacks.engine.ensemble import AttackedInTurn, Ensemble, attack_in_turn
from pipeline.attacks.engine.eot import Expectation
from pipeline.attacks.engine.loop import Attacked, attack_rows
from pipeline.attacks.engine.rescaled import Rescaled
from pipeline.attacks.engine.towards import attack_towards
from pipeline.attacks.settings import (
    ATTACKS,
    AttackSettings,
    default_ensemble,
    default_steps,
    is_bounded,
)
from pipeline.attacks.trust.audit import audit_report
from pipeline.classifier import FrozenClassifier
from pipeline.formats.perturbation.target import resolved_target
from pipeline.perturbation.attack import (
    CleanRows,
    PerturbedRows,
    PerturbRows,
    SetAttack,
    Totals,
)
from pipeline.perturbation.options import AttackOptions
from pipeline.perturbation.workplace import Workplace
from pipeline.perturbation_terms import MARGIN, NO_TARGET
from pipeline.pictures import from_unit, to_unit
from pipeline.precision import full_float32


@dataclass(frozen=True)
class BuiltIn(SetAttack):
    """An attack of `ATTACKS`."""

    settings: AttackSettings
    heeds: ClassVar[tuple[str, ...]] = (
        "steps", "step_size", "restarts", "ensemble", "target", "eot_draws", "norm", "eps", "seed",
    )  # fmt: skip

    @classmethod
    def is_called(cls, name: str) -> bool:
        """Whether it is the name of one of ours."""
        return name in ATTACKS

    @classmethod
    def of(cls, options: AttackOptions) -> "BuiltIn":
        """See `SetAttack`; UserError for a name that no attack has as well."""
        name = options.attack
        return cls(
            AttackSettings(
                attack=name,
                norm=options.norm,
                eps_levels=options.eps_levels(bounded=is_bounded(name)),
                steps=default_steps(name) if options.steps is None else options.steps,
                step_size=options.step_size,
                restarts=options.restarts,
                seed=options.seed,
                ensemble=options.ensemble or default_ensemble(name),
                target=options.target,
                draws=options.eot_draws,
            )
        )

    def at_target(self, classes: tuple[str, ...]) -> "BuiltIn":
        target = resolved_target(self.settings.target, classes)
        return BuiltIn(replace(self.settings, target=target))

    def own_record(self) -> dict[str, Any]:
        names = ("steps", "step_size", "restarts", "ensemble")
        return {name: getattr(self.settings, name) for name in names}

    def on(self, place: Workplace) -> PerturbRows:
        return partial(
            self.perturbed, place.classifier, widened=place.widened, threshold=place.threshold
        )

    def perturbed(
        self,
        classifier: FrozenClassifier,
        clean: CleanRows,
        *,
        widened: bool = False,
        threshold: float = MARGIN,
    ) -> PerturbedRows:
        """Perturbs rows; widened and threshold as in `perturb_rows`."""
        settings = self.settings
        images, attacked, found_by = perturb_rows(
            classifier,
            settings,
            clean.images,
            clean.labels,
            clean.rows,
            targets=None if settings.target == NO_TARGET else clean.targets,
            widened=widened,
            # With several draws the judge's chances are others than the attack's.
            logits=clean.logits if settings.draws == 1 else None,
            threshold=threshold,
        )
        return PerturbedRows(
            images,
            found_by,
            attacked.step.cpu().numpy(),
            attacked.restart.cpu().numpy(),
            attacked.forwards.cpu().numpy(),
            attacked.backwards.cpu().numpy(),
            alarming=_rows(attacked, "alarming"),
            audited=_rows(attacked, "audited"),
            overturned=_rows(attacked, "overturned"),
        )

    def report(self, totals: Totals) -> dict[str, Any]:
        """What the audit says, where there is one; see `audit_report`."""
        if self.settings.build().audit is None:
            return {}
        counts = totals.counts
        standing = counts["clean_right"] - counts["successes"] + counts["overturned"]
        report = audit_report(counts["rows"], standing, counts["audited"], counts["overturned"])
        return {"audit": {**report, "alarming": counts["alarming"], "widened_after": totals.sample}}

    def said_steps(self) -> str:
        """See `SetAttack`; several attacks in turn have steps of their own each."""
        steps = self.settings.steps
        several = len(self.settings.build().names) > 1
        return "" if several else f", {steps} step{'s' if steps != 1 else ''}"

    def lines(self, manifest: Mapping[str, Any]) -> list[str]:
        """What the audit found, in words."""
        if "audit" not in manifest:
            return []
        audit = manifest["audit"]
        least, most = audit["difference_interval_95"]
        advice = "; --ensemble standard leaves no such doubt" if audit["overturned"] else ""
        lines = [
            f"the standard attacks broke {audit['overturned']:,} of "
            f"{audit['audited']:,} audited rows of {audit['standing']:,} that stood; on all of "
            f"them they would take off {audit['difference']:.2f} points more (95 % interval "
            f"{least:.2f} to {most:.2f}){advice}"
        ]
        if audit["widened_after"]:
            lines.append(
                "the alarm went off in the audit's sample, so it was given to all rows that "
                f"stood, and broke {audit['alarming']:,}"
            )
        return lines


@full_float32()
def perturb_rows(
    classifier: FrozenClassifier,
    settings: AttackSettings,
    images: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    *,
    targets: np.ndarray | None = None,
    widened: bool = False,
    logits: np.ndarray | None = None,
    threshold: float = MARGIN,
) -> tuple[np.ndarray, Attacked, list[str]]:
    """Attack uint8 ``[N, H, W, C]`` pictures, in padded calls of the classifier's fixed size.

    Args:
        labels: int64 ``[N]``, the true ones.
        rows: int64 ``[N]``, row numbers in the dataset's split; they key the randomness.
        targets: int64 ``[N]``, the classes to be answered; see `attack_towards`.
        widened: whether the alarm of an ensemble's audit takes all rows that stand, and not a
            sample.
        logits: the classifier's for the pictures, ``[N, K]``, where they are known; their passes
            count all the same.
        threshold: by how much another class must lead, in logits.

    Returns:
        The pictures to store, uint8 ``[N, H, W, C]``, inside the ball and the box; how they were
        found; and by which attack, N names.
    """
    device = classifier.device
    x = to_unit(images).to(device)
    y, row = (torch.from_numpy(values.copy()).to(device) for values in (labels, rows))
    how: dict[str, Any] = {"seed": settings.seed, "rows_per_call": classifier.rows_per_call}
    model: Model = classifier
    if settings.draws > 1:
        model = Expectation(classifier, settings.draws, settings.seed)
        # A row is a call of its own, of as many copies as it has draws.
        how |= {"rows_per_call": 1, "capacity": classifier.rows_per_call}
    seen = Rescaled(model, threshold)
    ensemble = settings.build()
    if widened:
        ensemble = ensemble.widened()

    run = partial(_attacked, ensemble, how)
    rescaled = None if logits is None else seen.rescale(torch.from_numpy(logits).to(device))
    if targets is None:
        attacked = run(seen, x, y, row, rescaled)
    else:
        aims = torch.from_numpy(targets).to(device)
        attacked = attack_towards(run, seen, x, y, row, aims, how["rows_per_call"], rescaled)
    by = attacked.attack.tolist() if isinstance(attacked, AttackedInTurn) else [0] * len(images)
    return from_unit(attacked.adversarial), attacked, [ensemble.names[number] for number in by]


def _attacked(
    ensemble: Ensemble,
    how: Mapping[str, Any],
    model: Model,
    x: Tensor,
    y: Tensor,
    row: Tensor,
    logits: Tensor | None,
    targets: Tensor | None = None,
) -> Attacked:
    """What comes of one attack alone, or of several in turn; the clean pictures' pass counts."""
    more: dict[str, Any] = {"logits": logits, "targets": targets, **how}
    if len(ensemble.names) > 1:
        return attack_in_turn(ensemble, model, x, y, row, **more)
    attacked = attack_rows(ensemble.attacks[0][1], model, x, y, row, **more)
    asked = logits is None
    return attacked if asked else replace(attacked, forwards=attacked.forwards + 1)


def _rows(attacked: Attacked, name: str) -> int:
    """How many rows an audit marked so; none where there were not several attacks."""
    return int(getattr(attacked, name).sum()) if isinstance(attacked, AttackedInTurn) else 0
