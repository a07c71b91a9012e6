"""What makes a perturbation set: one noun for every kind of attack, each kind in its own file here.

A set's making asks it, in this order: does it fit the dataset (`check_fits`), what is it called in
columns and manifest (`record`), is something made before the rows (`file`, `make`, `with_file`),
the rows themselves (`on`), and what a manifest and a person are told of it (`report`, `warnings`,
`lines`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from pipeline.attacks.base import Norm
from pipeline.attacks.trust.repeatability import Repeat
from pipeline.formats.dataset import DatasetInfo
from pipeline.perturbation.options import AttackOptions
from pipeline.perturbation.workplace import Workplace
from pipeline.perturbation_terms import TrustWarning

Record = Mapping[str, Any]


class Settings(Protocol):
    """What is said of every attack; eps_levels is 0 where there is no ball."""

    @property
    def attack(self) -> str: ...

    @property
    def norm(self) -> Norm: ...

    @property
    def eps_levels(self) -> int: ...

    @property
    def bounded(self) -> bool: ...

    @property
    def seed(self) -> int: ...

    @property
    def target(self) -> str: ...

    @property
    def draws(self) -> int: ...


@dataclass(frozen=True)
class CleanRows:
    """N rows of a dataset that are to be perturbed, N >= 1.

    Attributes:
        images: uint8 ``[N, H, W, C]``.
        labels: int64 ``[N]``, the true ones.
        rows: int64 ``[N]``, row numbers in the dataset's split, which key the randomness.
        targets: int64 ``[N]``, the classes to be answered, where the attack has a target.
        logits: ``[N, K]``, the judge's.
        first: whether they are the first of the split.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    logits: np.ndarray
    first: bool = False


@dataclass(frozen=True)
class PerturbedRows:
    """What became of N rows.

    Attributes:
        images: uint8 ``[N, H, W, C]``, as they are to be stored.
        found_by: N names of attacks.
        steps, restarts: int64 ``[N]``, when the picture was found.
        forwards, backwards: int64 ``[N]``, passes; a mean over draws is one.
        alarming, audited, overturned: rows, of an audit.
        lost: rows whose picture was broken before it was brought into ball and lattice.
        repeat: what a second run of a batch showed, where there was one.
        delta: int16 ``[H, W, C]``, where all rows have one perturbation.
    """

    images: np.ndarray
    found_by: Sequence[str]
    steps: np.ndarray
    restarts: np.ndarray
    forwards: np.ndarray
    backwards: np.ndarray
    alarming: int = 0
    audited: int = 0
    overturned: int = 0
    lost: int = 0
    repeat: Repeat | None = None
    delta: np.ndarray | None = None

    @classmethod
    def asked_once(
        cls, images: np.ndarray, attack: str, delta: np.ndarray | None = None
    ) -> "PerturbedRows":
        """Pictures that no row was searched for: each is asked about in its judgement alone."""
        ones, zeros = (np.full(len(images), value, np.int64) for value in (1, 0))
        return cls(images, [attack] * len(images), ones, zeros, ones, zeros, delta=delta)


@dataclass(frozen=True)
class Totals:
    """What came of all rows of a set.

    Attributes:
        counts: over all rows.
        repeat: see `PerturbedRows`.
        sample: what the audit of a sample counted before its alarm was widened to all rows.
        file_record: of the file that the attack made first.
    """

    counts: Mapping[str, int]
    repeat: Repeat | None = None
    sample: Record | None = None
    file_record: Record | None = None


PerturbRows = Callable[[CleanRows], PerturbedRows]


class SetAttack(ABC):
    """An attack as a perturbation set is made with it.

    Attributes:
        settings: all that its result depends on, besides model and pictures.
        heeds: the options that it takes besides its name; others are refused.
        file: what is made in the set's directory before any row; None for nothing.
    """

    settings: Settings
    heeds: ClassVar[tuple[str, ...]]
    file: ClassVar[str | None] = None

    @classmethod
    @abstractmethod
    def is_called(cls, name: str) -> bool:
        """Whether a name means an attack of this kind."""

    @classmethod
    @abstractmethod
    def of(cls, options: AttackOptions) -> "SetAttack":
        """The attack that the options spell; UserError where they contradict each other."""

    def at_target(self, classes: tuple[str, ...]) -> "SetAttack":
        """The same, its target a rule or a class's number; UserError where there is none such."""
        return self

    def check_fits(  # noqa: B027  # most attacks fit every dataset
        self, info: DatasetInfo, split: str, stop: int, classifier_sha256: str
    ) -> None:
        """UserError unless rows 0 to ``stop`` of the split can be attacked so."""

    def record(self) -> dict[str, Any]:
        """The attack as columns and manifest hold it: eps in levels of 1/255."""
        settings = self.settings
        return {
            "attack": settings.attack,
            "norm": settings.norm.value,
            "eps": settings.eps_levels,
            "seed": settings.seed,
            "target": settings.target,
            "draws": settings.draws,
            **self.own_record(),
        }

    @abstractmethod
    def own_record(self) -> dict[str, Any]:
        """What `record` holds besides what it says of every attack."""

    def make(self, place: Workplace) -> dict[str, Any]:
        """Makes `file`; returns its record."""
        raise NotImplementedError(f"{self.settings.attack} makes no file before its rows")

    def with_file(self, file_record: Record) -> "SetAttack":
        """The same, with the file of this record."""
        return self

    @abstractmethod
    def on(self, place: Workplace) -> PerturbRows:
        """What perturbs rows there; UserError where `file` is not the one that was made."""

    def report(self, totals: Totals) -> dict[str, Any]:
        """What the manifest says besides what it says of every set."""
        return {}

    def warnings(self, totals: Totals) -> list[TrustWarning]:
        """What speaks against the set besides what its classifier and its rows show."""
        return []

    def said_steps(self) -> str:
        """Its steps, for a line that says what is going to be done; empty where there are none."""
        return ""

    def lines(self, manifest: Mapping[str, Any]) -> list[str]:
        """What a person is told of `report`."""
        return []
