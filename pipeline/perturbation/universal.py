"""Perturbation sets with one perturbation for all pictures.

It is made from a sample, stored beside the shards, and then added to every row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, ClassVar

import torch

from pipeline.attacks.engine.rescaled import Rescaled
from pipeline.attacks.methods.universal import BATCH, UniversalAttack, make_universal
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.keyed_sample import keyed_sample
from pipeline.formats.perturbation.target import resolved_target
from pipeline.formats.perturbation.universal import (
    DELTA_FILE,
    read_delta,
    with_delta,
    write_delta,
)
from pipeline.perturbation.attack import (
    CleanRows,
    PerturbedRows,
    PerturbRows,
    Record,
    SetAttack,
    Totals,
)
from pipeline.perturbation.options import AttackOptions
from pipeline.perturbation.workplace import Workplace
from pipeline.perturbation_terms import UNIVERSAL
from pipeline.pictures import to_unit

_REPORTED = (
    "sample_rows", "sample_sha256", "sample_usable", "sample_fooled", "restart", "forwards",
    "backwards",
)  # fmt: skip


@dataclass(frozen=True)
class Universal(SetAttack):
    """The attack `universal`.

    Attributes:
        settings: see `UniversalAttack`.
        delta_sha256: of the file that holds the perturbation; empty until it is made.
    """

    settings: UniversalAttack
    delta_sha256: str = ""
    heeds: ClassVar[tuple[str, ...]] = (
        "steps", "step_size", "restarts", "target", "norm", "eps", "seed", "sample_rows",
        "sample_split", "loss_clip",
    )  # fmt: skip
    file: ClassVar[str | None] = DELTA_FILE

    @classmethod
    def is_called(cls, name: str) -> bool:
        """Whether it is its name."""
        return name == UNIVERSAL

    @classmethod
    def of(cls, options: AttackOptions) -> "Universal":
        names = ("steps", "step_size", "sample_rows", "sample_split", "loss_clip")
        values = {name: getattr(options, name) for name in names}
        return cls(
            UniversalAttack(
                norm=options.norm,
                eps_levels=options.eps_levels(bounded=True),
                restarts=options.restarts,
                seed=options.seed,
                target=options.target,
                **{name: value for name, value in values.items() if value is not None},
            )
        )

    def at_target(self, classes: tuple[str, ...]) -> "Universal":
        target = resolved_target(self.settings.target, classes)
        return replace(self, settings=replace(self.settings, target=target))

    def check_fits(self, info: DatasetInfo, split: str, stop: int, classifier_sha256: str) -> None:
        """Raises UserError where there is no split, or an empty one, to draw the sample from."""
        sampled = self.settings.sample_split
        if not sum(shard.num_rows for shard in info.splits.get(sampled, ())):
            raise UserError(
                f"{info.path} has no split {sampled!r} with pictures to make the perturbation "
                f"from, only {', '.join(info.splits)}; name one of these with --sample-split"
            )

    def own_record(self) -> dict[str, Any]:
        """See `SetAttack`; without the file's hash as long as there is none."""
        settings = self.settings
        record = {
            "steps": settings.steps,
            "step_size": settings.step_size,
            "restarts": settings.restarts,
            "ensemble": None,
            "batch_rows": BATCH,
            "sample_rows": settings.sample_rows,
            "sample_split": settings.sample_split,
            "loss_clip": settings.clip,
        }
        return {**record, "delta_sha256": self.delta_sha256} if self.delta_sha256 else record

    def make(self, place: Workplace) -> dict[str, Any]:
        """Makes the perturbation from its sample.

        Returns:
            The file, its hash and size; the sample's rows, the hash of their ids (a line each, in
            order), how many were usable and how many of these are fooled; and the passes.

        Raises:
            UserError: the sample holds no picture that can be fooled.
        """
        settings, classifier = self.settings, place.classifier
        sample = keyed_sample(
            place.info,
            settings.sample_split,
            settings.sample_rows,
            settings.seed,
            len(classifier.classes),
        )
        if not sample.ids:
            raise UserError(
                f"no row of {place.info.path}, split {settings.sample_split}, has a label among "
                "the classes; name another --sample-split"
            )
        result = make_universal(
            settings,
            Rescaled(classifier, place.threshold),
            to_unit(sample.images).to(classifier.device),
            torch.from_numpy(sample.labels).to(classifier.device),
            rows_per_call=classifier.rows_per_call,
        )
        digest, size = write_delta(place.output, result.delta.transpose(1, 2, 0))
        return {
            "file": DELTA_FILE,
            "num_rows": 1,
            "sha256": digest,
            "num_bytes": size,
            "sample_rows": len(sample.ids),
            "sample_sha256": sha256("\n".join(sample.ids).encode()).hexdigest(),
            "sample_usable": result.usable,
            "sample_fooled": result.fooled,
            "restart": result.restart,
            "forwards": result.forwards,
            "backwards": result.backwards,
        }

    def with_file(self, file_record: Record) -> "Universal":
        return replace(self, delta_sha256=str(file_record["sha256"]))

    def on(self, place: Workplace) -> PerturbRows:
        delta = read_delta(place.output, self.record(), place.info.shape)

        def perturb(clean: CleanRows) -> PerturbedRows:
            return PerturbedRows.asked_once(with_delta(clean.images, delta), UNIVERSAL, delta)

        return perturb

    def report(self, totals: Totals) -> dict[str, Any]:
        """How the perturbation was made, and its fooling_rate.

        That is the share of the rightly answered pictures that it breaks; None if there are none.
        """
        assert totals.file_record is not None
        right = totals.counts["clean_right"]
        rate = totals.counts["successes"] / right if right else None
        reported = {name: totals.file_record[name] for name in _REPORTED}
        return {"universal": {"file": DELTA_FILE, "fooling_rate": rate, **reported}}

    def said_steps(self) -> str:
        steps = self.settings.steps
        return f", {steps} step{'s' if steps != 1 else ''}"

    def lines(self, manifest: Mapping[str, Any]) -> list[str]:
        """The fooling rate in words."""
        its, counts = manifest["universal"], manifest["counts"]
        seen = manifest["attack"]["sample_split"]
        share = f"{its['fooling_rate']:.2%}" if its["fooling_rate"] is not None else "none"
        return [
            f"one perturbation fools {share} of {counts['clean_right']:,} rightly answered "
            f"pictures, and {its['sample_fooled'] / its['sample_usable']:.2%} of the "
            f"{its['sample_usable']:,} of {seen} that it was made from, in {its['backwards']:,} "
            "gradients"
        ]
