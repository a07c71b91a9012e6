"""The content of a report: plain values and small pictures, all computed."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.evaluation.neighbours import Copies
from pipeline.plots.class_sheet import ClassRow
from pipeline.plots.perturbations import PerturbationExamples
from pipeline.plots.trajectory import Trajectory
from pipeline.report.boundary import BoundaryPanel
from pipeline.report.certificates import CertificatePanel


@dataclass(frozen=True)
class Agreement:
    """The share of samples to which a classifier gives their own label.

    Attributes:
        rate: ``right / asked``.
        right: samples that got their label.
        asked: samples that were classified.
        low95, high95: the exact 95 % interval of ``rate``.
    """

    rate: float
    right: int
    asked: int
    low95: float
    high95: float


@dataclass(frozen=True)
class Frechet:
    """Fréchet distances between ``count`` pictures a side, and their ratio.

    The ratio is None where the floor is 0.
    """

    samples_to_test: float
    train_to_test: float
    ratio_to_floor: float | None
    count: int


@dataclass(frozen=True)
class LikelihoodBound:
    """The bound on the test pictures' likelihood and its parts, in bits a pixel and channel.

    They are means over ``num_pictures`` random pictures, with the standard error of the bound.
    ``variances_from`` is the split that the decoder's variances were fitted to.
    """

    bits_per_dim: float
    standard_error: float
    prior_bits_per_dim: float
    layers_bits_per_dim: float
    reconstruction_bits_per_dim: float
    num_layers: int
    num_pictures: int
    variances_from: str | None


@dataclass(frozen=True)
class Robustness:
    """A classifier's accuracy on ``num_rows`` pictures, clean and perturbed, and the attack.

    Attributes:
        attack, norm, eps, steps: of the attack; eps in levels of 1/255.
        verified: stored rows whose predictions a new forward pass confirmed.
    """

    clean_accuracy: float
    clean_interval_95: tuple[float, float]
    robust_accuracy: float
    robust_interval_95: tuple[float, float]
    num_rows: int
    verified: int
    attack: str
    norm: str
    eps: int
    steps: int

    @staticmethod
    def from_manifest(manifest: Mapping[str, Any]) -> "Robustness":
        """The figures in a perturbation set's manifest."""
        attack, counts = manifest["attack"], manifest["counts"]
        low, high = manifest["clean_accuracy_interval_95"]
        robust_low, robust_high = manifest["robust_accuracy_interval_95"]
        return Robustness(
            manifest["clean_accuracy"],
            (low, high),
            manifest["robust_accuracy"],
            (robust_low, robust_high),
            counts["rows"],
            counts["verified"],
            attack["attack"],
            attack["norm"],
            attack["eps"],
            attack["steps"],
        )


@dataclass(frozen=True)
class Figures:
    """Every figure of a run; None where it was not measured."""

    agreement: Agreement | None = None
    frechet: Frechet | None = None
    copies: Copies | None = None
    bound: LikelihoodBound | None = None
    robustness: Robustness | None = None

    @staticmethod
    def from_json(
        evaluation: Mapping[str, Any] | None, perturbations: Mapping[str, Any] | None = None
    ) -> "Figures":
        """The figures in an evaluation.json and in a perturbation set's manifest.json."""
        stored = evaluation or {}
        return Figures(
            Agreement(**stored["agreement"]) if stored.get("agreement") else None,
            Frechet(**stored["frechet"]) if stored.get("frechet") else None,
            Copies(**stored["copies"]) if stored.get("copies") else None,
            LikelihoodBound(**stored["bound"]) if stored.get("bound") else None,
            Robustness.from_manifest(perturbations) if perturbations else None,
        )


@dataclass(frozen=True)
class LossCurve:
    """A plot of a training's losses: the name of what was trained, and the bytes of a PNG."""

    name: str
    png: bytes


@dataclass(frozen=True)
class Step:
    """One step of the run: its name, the command that repeats it, and the seconds that it took.

    A step whose work was done by an earlier run takes few.
    """

    name: str
    command: str
    seconds: float


@dataclass(frozen=True)
class ReportData:
    """All that `write_report` shows. What is empty or None is left out.

    Attributes:
        title: of the page, such as "Handwritten digits".
        dataset: one sentence on the data.
        sampling: how the samples were drawn, in words.
        num_samples: in the sample set; ``samples`` shows some.
        samples: see `rows_by_class`.
        trajectory: see `record_trajectory`.
        examples: rows of the perturbation set; see `choose_examples`.
        certificates: how many answers provably hold, and how far.
        boundary: decision maps and distances, before and after.
        losses: one curve for each training.
        figures: see `Figures.from_json`.
        steps: of the run, in order.
        hashes: SHA-256 of the stack, the classifier and the dataset, by name.
        versions: of packages, by name.
        files: descriptions of the files beside the report, by path.
        next_steps: commands to run next, by what they do.
    """

    title: str
    dataset: str
    sampling: str = ""
    num_samples: int = 0
    samples: tuple[ClassRow, ...] = ()
    trajectory: Trajectory | None = None
    examples: PerturbationExamples | None = None
    certificates: CertificatePanel | None = None
    boundary: BoundaryPanel | None = None
    losses: tuple[LossCurve, ...] = ()
    figures: Figures = field(default_factory=Figures)
    steps: tuple[Step, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    next_steps: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The seconds of all steps together."""
        return math.fsum(step.seconds for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """The form in report.json: everything but the pictures."""
        return {
            "title": self.title,
            "dataset": self.dataset,
            "sampling": self.sampling,
            "num_samples": self.num_samples,
            "figures": asdict(self.figures),
            "certificates": self.certificates.to_json() if self.certificates else None,
            "boundary": [asdict(d) for d in self.boundary.distances] if self.boundary else None,
            "seconds": self.seconds,
            "steps": [asdict(step) for step in self.steps],
            "hashes": dict(self.hashes),
            "versions": dict(self.versions),
            "files": dict(self.files),
        }
