"""The two classifiers that attacks are measured on: one trained as usual, one to withstand.

They are made once by the jobs and their configs, into runs/bench/models, and found there again: the
natural one in minutes, the trained one in half an hour of one core. With `--quick` both are small
ones of the embedded digits, trained for a moment, and neither withstands anything.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from benchmarks.attackers import Task
from benchmarks.common import Options
from benchmarks.datasets import FASHION_MNIST, write_dataset
from pipeline.classifier import Classifier, save_classifier
from pipeline.formats.dataset import images_of, labels_of, load_dataset, read_rows
from pipeline.formats.splits import TEST, TRAIN
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape
from pipeline.pictures import to_unit
from pipeline.training.classifier import ClassifierRecipe, ClassifierTrainer

FOLDERS = {
    "dataset": "Fashion-MNIST as `ingest` writes it",
    "natural": "a classifier of it, trained as usual",
    "trained": "one that was trained on perturbed pictures",
}
MODELS = Path("runs/bench/models")
_CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LEVELS, QUICK_LEVELS = 25, 60  # of 1/255: the least above 0.098; so many that digits soon fall
ROWS, QUICK_ROWS = 500, 12
_TRAINED = {"natural": "classifier_fashion_mnist", "trained": "classifier_fashion_mnist_robust"}
_QUICK_STEPS = {"natural": 60, "trained": 30}


@dataclass(frozen=True)
class Subject:
    """A classifier, and pictures of one split to perturb.

    Attributes:
        classifier: frozen.
        folder, dataset, split: where it and the pictures are from.
        levels: the ball's radius in L∞, in levels of 1/255.
    """

    classifier: Classifier
    folder: Path
    dataset: Path
    split: str
    levels: int

    def task(self, start: int, stop: int) -> Task:
        """Rows of the split, as the attackers take them."""
        table = read_rows(load_dataset(self.dataset), self.split, start, stop)
        x, y = to_unit(images_of(table)), torch.from_numpy(labels_of(table).copy())
        return Task(self.classifier.network, x, y, self.levels, self.classifier.rows_per_call)

    def right(self, x: Tensor, y: Tensor) -> Tensor:
        """Which of the pictures are answered rightly, bool ``[N]``."""
        with torch.no_grad():
            parts = zip(x.split(64), y.split(64), strict=True)
            return torch.cat([self.classifier(a).argmax(dim=1) == b for a, b in parts])


def subjects(options: Options, place: Path) -> dict[str, Subject]:
    """The classifiers named natural and trained; what is made for `--quick` goes to `place`."""
    ready = dict(options.folders)
    if options.quick:
        ready = quick_folders(place)
    else:
        if "dataset" not in ready:
            ready["dataset"] = ingested_fashion_mnist()
        for name in _TRAINED:
            if name not in ready:
                ready[name] = _train(name, ready["dataset"])
    split, levels = (TRAIN, QUICK_LEVELS) if options.quick else (TEST, LEVELS)
    return {
        name: Subject(Classifier.load(ready[name]), ready[name], ready["dataset"], split, levels)
        for name in _TRAINED
    }


def ingested_fashion_mnist() -> Path:
    """The dataset, made from the files beside the repository where it is not there yet."""
    options = ["--input", str(FASHION_MNIST)]
    return made_by_job("ingest", "ingest_fashion_mnist", MODELS / "dataset", options)


def made_by_job(job: str, config: str, output: Path, options: Sequence[str]) -> Path:
    """What the job makes with this config of `configs/`; at once where it was made before."""
    command = [sys.executable, "-m", "noisestack", job, "--config", f"{_CONFIGS / config}.yaml"]
    subprocess.run([*command, "--output", str(output), *options], check=True)
    return output


def _train(name: str, dataset: Path) -> Path:
    options = ["--dataset", str(dataset), "--cpus-per-worker", "1"]
    return made_by_job("train-classifier", _TRAINED[name], MODELS / name, options) / "model"


def quick_folders(place: Path) -> dict[str, Path]:
    """Digits, and two small classifiers of them, by the names of `FOLDERS`."""
    digits = load_digits()
    images = (digits.images * 255 / 16).round().astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    made = {"dataset": write_dataset(place / "dataset", images, labels).path}
    for name, steps in _QUICK_STEPS.items():
        torch.manual_seed(0)
        network = ClassifierNetwork(ClassifierShape(8, 8, 1, 10, widths=(8, 16)))
        fit = ClassifierTrainer(network, ClassifierRecipe(steps, 1e-2, 0.05, 0, 0))
        for step in range(steps):
            rows = np.random.default_rng(step).integers(0, len(images), 128)
            fit.update(images[rows], labels[rows])
        made[name] = place / name
        save_classifier(made[name], network, tuple(str(n) for n in range(10)), {})
    return made
