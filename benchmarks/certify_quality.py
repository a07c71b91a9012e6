"""How much of Fashion-MNIST do smoothed classifiers certify, and does that reach what is published?

The first 500 test pictures, small classifiers trained under noise by the configs named in `MADE`.
Each picture is certified with up to 100,000 draws at alpha 0.001, until of each radius of `RADII`
it is known whether it holds; right at a radius is a picture of which the label is certified there.
Published: LeNet, Fashion-MNIST, the tables of Jeong, Kim and Shin, 2022 (arXiv 2212.09000), for
Gaussian training and for theirs, CAT-RS. The intervals (95 %, Clopper and Pearson) are over
pictures.

`--models DIR` takes ready classifiers from DIR/gaussian_025, DIR/gaussian_05 and DIR/best_05; the
others are trained first, in a quarter of an hour of one core each.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.classifiers import (
    MODELS,
    ingested_fashion_mnist,
    made_by_job,
    subjects,
)
from benchmarks.common import Options, Stopwatch, read_options, report
from pipeline.classifier import Classifier
from pipeline.formats.dataset import images_of, labels_of, load_dataset, read_rows
from pipeline.formats.splits import TEST, TRAIN
from pipeline.intervals import clopper_pearson
from pipeline.smoothing.base import OfClassifier
from pipeline.smoothing.certifier import CertificateRows, certify_rows
from pipeline.smoothing.noise import row_keys_of
from pipeline.smoothing.settings import CertifySettings

FOLDERS = {
    "dataset": "Fashion-MNIST as `ingest` writes it",
    "models": "classifiers named gaussian_025, gaussian_05 and best_05",
}
ROWS, QUICK_ROWS = 500, 12
DRAWS, QUICK_DRAWS = 100_000, 8000  # the fewest that certify 3 sigma are some 5,300
# For radius 0 the smallest that a certificate can say.
RADII = {"r0": 1e-6, "r025": 0.25, "r05": 0.5, "r1": 1.0, "r15": 1.5}


@dataclass(frozen=True)
class Made:
    """A classifier to certify: its σ, how it is trained, and what must be certified, in percent."""

    sigma: float
    config: str
    options: tuple[str, ...]
    targets: Mapping[str, float]


MADE = {
    "gaussian_025": Made(
        0.25, "classifier_fashion_mnist_gaussian", (), {"r0": 89.5, "r025": 82.0, "r05": 70.8}
    ),
    "gaussian_05": Made(
        0.5,
        "classifier_fashion_mnist_gaussian",
        ("--noise-sigma", "0.5", "--steps", "3500"),
        {"r0": 86.2, "r025": 80.7, "r05": 73.3, "r1": 55.5, "r15": 35.0},
    ),
    "best_05": Made(
        0.5,
        "classifier_fashion_mnist_smooth",
        (),
        {"r0": 82.5, "r025": 79.6, "r05": 76.2, "r1": 67.8, "r15": 56.7},
    ),
}  # fmt: skip


def right_at(rows: CertificateRows, labels: np.ndarray, radius: float) -> int:
    """Of how many rows the label is certified at this distance."""
    right = (rows.predicted == labels) & ~rows.abstained & (rows.radius >= radius)
    return int(right.sum())


def figures_of(
    name: str, rows: CertificateRows, labels: np.ndarray, radii: Mapping[str, float]
) -> dict[str, Any]:
    """Certified accuracy in percent at each radius, with its interval, and the draws a row."""
    found: dict[str, Any] = {}
    for key, radius in radii.items():
        right = right_at(rows, labels, radius)
        low, high = clopper_pearson(right, len(labels))
        found[f"certified_{name}_{key}_percent"] = round(100 * right / len(labels), 2)
        found[f"certified_{name}_{key}_interval_percent"] = [
            round(100 * low, 2), round(100 * high, 2)
        ]  # fmt: skip
    found[f"draws_a_row_{name}"] = round(float(rows.draws.mean()), 1)
    return found


def targets_of(made: Mapping[str, Made]) -> dict[str, float]:
    """What each figure must reach."""
    return {
        f"certified_{name}_{key}_percent": target
        for name, one in made.items()
        for key, target in one.targets.items()
    }


def table(made: Mapping[str, Made], figures: Mapping[str, Any]) -> list[str]:
    """A line for each figure with a target: measured, its interval, and what it must reach."""
    lines = []
    for name, one in made.items():
        for key, target in one.targets.items():
            figure = f"certified_{name}_{key}"
            low, high = figures[f"{figure}_interval_percent"]
            value = figures[f"{figure}_percent"]
            said = "met" if value >= target else "MISSED"
            lines.append(
                f"{name:13} sigma {one.sigma:<5g} r = {RADII[key]:<5.2f} {value:6.2f} %  "
                f"({low:.1f} to {high:.1f})  at least {target}: {said}"
            )
    return lines


def certify(
    folder: Path, made: Made, dataset: Path, split: str, *, rows: int, draws: int
) -> tuple[CertificateRows, np.ndarray]:
    """Certificates of a split's first rows at the radii that have a target; and the labels."""
    chosen = read_rows(load_dataset(dataset), split, 0, rows)
    asked = tuple(RADII[key] for key in made.targets)
    settings = CertifySettings(made.sigma, n=draws, rule="radii", radii=asked)
    keys = row_keys_of(chosen["id"].to_pylist())
    base = OfClassifier(Classifier.load(folder))
    return certify_rows(base, images_of(chosen), keys, settings), labels_of(chosen)


def folders(options: Options) -> tuple[Path, dict[str, Path], dict[str, float]]:
    """The dataset, the classifiers by name, and the CPU-minutes of those that were trained now."""
    given = options.folders.get("models")
    dataset = options.folders.get("dataset") or ingested_fashion_mnist()
    found: dict[str, Path] = {}
    spent: dict[str, float] = {}
    for name, made in MADE.items():
        if given is not None and (given / name).is_dir():
            found[name] = given / name
            continue
        watch = Stopwatch()
        output = MODELS / name
        new = not (output / "model").is_dir()
        made_by_job(
            "train-classifier", made.config, output, ["--dataset", str(dataset), *made.options]
        )
        found[name] = output / "model"
        if new:
            spent[f"training_{name}_cpu_minutes"] = round(watch.spent().cpu_seconds / 60, 1)
    return dataset, found, spent


def main(argv: Sequence[str] | None = None) -> None:
    """Certifies all, and prints a table and the figures, as one line, the last."""
    options = read_options(__doc__, argv, folders=FOLDERS)
    with tempfile.TemporaryDirectory() as place:
        split = TEST
        figures: dict[str, Any] = {}
        if options.quick:
            one = subjects(options, Path(place))["natural"]
            dataset, split = one.dataset, TRAIN
            ready = dict.fromkeys(MADE, one.folder)
        else:
            dataset, ready, spent = folders(options)
            figures |= spent
        for name, made in MADE.items():
            watch = Stopwatch()
            rows, labels = certify(
                ready[name],
                made,
                dataset,
                split,
                rows=QUICK_ROWS if options.quick else ROWS,
                draws=QUICK_DRAWS if options.quick else DRAWS,
            )
            radii = {key: RADII[key] for key in made.targets}
            figures |= figures_of(name, rows, labels, radii)
            figures[f"certifying_{name}_cpu_seconds"] = round(watch.spent().cpu_seconds, 1)
            print("\n".join(table({name: made}, figures)), flush=True)
    report("certify_quality", figures, options=options, targets=targets_of(MADE))


if __name__ == "__main__":
    main()
