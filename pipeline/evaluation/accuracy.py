"""How many pictures a classifier gets right, as they are and under PGD."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.pgd import Pgd
from pipeline.classifier import Classifier
from pipeline.pictures import to_unit


@dataclass(frozen=True)
class Evaluation:
    """Right answers among a number of pictures."""

    num_rows: int
    num_right: int

    @property
    def accuracy(self) -> float:
        """The share of right answers, 0 to 1."""
        return self.num_right / self.num_rows

    def __add__(self, other: "Evaluation") -> "Evaluation":
        return Evaluation(self.num_rows + other.num_rows, self.num_right + other.num_right)


def evaluate(
    classifier: Classifier, batches: Iterable[tuple[np.ndarray, np.ndarray]]
) -> Evaluation:
    """Count right answers over batches of uint8 ``[N, H, W, C]`` and int64 labels ``[N]``."""
    total = Evaluation(0, 0)
    for images, labels in batches:
        right = int((classifier.predict(images) == labels).sum())
        total = total + Evaluation(len(labels), right)
    return total


def evaluate_under_pgd(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, *, levels: int, steps: int
) -> Evaluation:
    """Counts the answers that are right and stay right under PGD in L∞.

    The attack is `pipeline.attacks.methods.pgd`, from one random point.

    Args:
        classifier: frozen; any device.
        images: uint8 ``[N, H, W, C]``.
        labels: int64 ``[N]``.
        levels: the radius, in levels of 1/255.
        steps: gradient steps a picture at most.
    """
    attacked = attack_rows(
        Pgd(Ball(Norm.LINF, levels), steps),
        classifier,
        to_unit(images).to(classifier.device),
        torch.from_numpy(labels.astype(np.int64)).to(classifier.device),
        torch.arange(len(labels)),
        rows_per_call=classifier.rows_per_call,
    )
    withstood = attacked.clean_right & ~attacked.broken
    return Evaluation(len(labels), int(withstood.sum()))
