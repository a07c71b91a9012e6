"""A transfer attack: the pictures of a set that was made against one classifier, shown to another.

They owe nothing to the other one's gradients. Where they break what attacks with its gradients
leave standing, these are masked: Athalye, Carlini and Wagner, "Obfuscated gradients give a false
sense of security", 2018 (arXiv 1802.00420), section 3.1.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pipeline.attacks.base import Norm
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.perturbation.set import PerturbationSet, content_hash, open_perturbation_set
from pipeline.formats.shard import images_of, read_range
from pipeline.perturbation.attack import (
    CleanRows,
    PerturbedRows,
    PerturbRows,
    SetAttack,
)
from pipeline.perturbation.options import AttackOptions
from pipeline.perturbation.workplace import Workplace
from pipeline.perturbation_terms import NO_TARGET, TRANSFER


@dataclass(frozen=True)
class TransferAttack:
    """Where the pictures come from, and the ball that they lie in.

    Attributes:
        source: directory of the perturbation set that has them; no part of what is told of the
            attack, since a copy of it has the same pictures.
        norm, eps_levels: of that set; 0 levels, no ball, where it looked for the smallest change.
        set_sha256: its identity.
        surrogate_sha256: that of the classifier that it was made against.
        made_by: its attack.
        seed: nothing is drawn.
        target: none: any wrong answer counts, whatever they were made for.
    """

    source: Path
    norm: Norm
    eps_levels: int
    set_sha256: str
    surrogate_sha256: str
    made_by: str
    seed: int = 0
    target: str = NO_TARGET

    @classmethod
    def of(cls, source: Path) -> "TransferAttack":
        """The one that shows the pictures of a finished set.

        Raises:
            UserError: there is no such set, or it lacks rows that it set aside.
        """
        opened = open_perturbation_set(source)
        if opened.quarantine:
            raise UserError(
                f"{source} lacks rows that it set aside as bad; make it of a dataset without them"
            )
        attack = opened.attack
        return cls(
            opened.path,
            Norm(attack["norm"]),
            int(attack["eps"]),
            content_hash(opened.manifest),
            opened.model_sha256,
            str(attack["attack"]),
        )

    @property
    def attack(self) -> str:
        """Its name."""
        return TRANSFER

    @property
    def bounded(self) -> bool:
        """Whether the set's pictures lie in a ball."""
        return self.eps_levels > 0

    @property
    def draws(self) -> int:
        """One: it is not for models that answer by chance."""
        return 1

    def pictures(self, rows: np.ndarray, clean: np.ndarray) -> np.ndarray:
        """The set's pictures of these rows, int64 ``[N]``, ascending: uint8 ``[N, H, W, C]``.

        Args:
            clean: the dataset's pictures, which the set says it changed.

        Raises:
            UserError: the set is another one by now, or it changed other pictures.
        """
        opened = self.opened()
        first, last = int(rows[0]), int(rows[-1]) + 1
        table = read_range(opened.path, opened.shards, first, last, ["row", "image", "adversarial"])
        held = table.column("row").to_numpy()
        if not np.array_equal(held, np.arange(first, last)):
            raise UserError(f"{self.source} does not hold rows {first} to {last} in order")
        chosen = rows - first
        if not np.array_equal(images_of(table)[chosen], clean):
            raise UserError(f"{self.source} changed other pictures than the dataset's")
        pictures: np.ndarray = images_of(table, "adversarial")[chosen]
        return pictures

    def opened(self) -> PerturbationSet:
        """The set; UserError where it is another one by now."""
        opened = open_perturbation_set(self.source)
        if content_hash(opened.manifest) != self.set_sha256:
            raise UserError(f"{self.source} is another set than when the job was started")
        return opened


@dataclass(frozen=True)
class Transfer(SetAttack):
    """The attack `transfer`."""

    settings: TransferAttack
    heeds: ClassVar[tuple[str, ...]] = ("source",)

    @classmethod
    def is_called(cls, name: str) -> bool:
        """Whether it is its name."""
        return name == TRANSFER

    @classmethod
    def of(cls, options: AttackOptions) -> "Transfer":
        if options.source is None:
            raise UserError(
                f"the attack {TRANSFER} needs --source, a perturbation set made against another "
                "classifier on the same rows"
            )
        return cls(TransferAttack.of(options.source))

    def check_fits(self, info: DatasetInfo, split: str, stop: int, classifier_sha256: str) -> None:
        """Refuses a set that cannot be transferred to this dataset and classifier.

        Raises:
            UserError: the set lacks rows 0 to ``stop`` of the dataset's split, or was made against
                this very classifier.
        """
        settings, opened = self.settings, self.settings.opened()
        if settings.surrogate_sha256 == classifier_sha256:
            raise UserError(
                f"{settings.source} was made against this very classifier; give a set that was "
                "made against another one"
            )
        if (opened.dataset_sha256, opened.split) != (info.sha256, split):
            raise UserError(
                f"{settings.source} is of the split {opened.split} of another dataset, or of "
                f"another split than {split} of {info.path}; make it of the same rows"
            )
        if opened.start > 0 or opened.stop < stop:
            raise UserError(
                f"{settings.source} has rows {opened.start} to {opened.stop}, not 0 to {stop}; "
                f"give --limit {opened.stop}, or make it of all rows"
            )

    def own_record(self) -> dict[str, Any]:
        names = ("set_sha256", "surrogate_sha256", "made_by")
        once = {"steps": 1, "step_size": None, "restarts": 1}
        return {**once, **{name: getattr(self.settings, name) for name in names}}

    def on(self, place: Workplace) -> PerturbRows:

        def perturb(clean: CleanRows) -> PerturbedRows:
            images = self.settings.pictures(clean.rows, clean.images)
            return PerturbedRows.asked_once(images, TRANSFER)

        return perturb
