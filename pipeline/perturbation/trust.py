"""What speaks against a perturbation set's accuracy, as its classifier and its attack show it.

What its rows show is in `pipeline.formats.perturbation.warnings`.
"""

import numpy as np
import torch

from pipeline.attacks.trust.model_check import look_at_model
from pipeline.classifier import FrozenClassifier
from pipeline.formats.dataset import DatasetInfo, images_of, labels_of, read_rows
from pipeline.formats.perturbation.check import Judge
from pipeline.formats.perturbation.set import PerturbationSet
from pipeline.formats.perturbation.verdict import threshold_of
from pipeline.formats.perturbation.warnings import (
    GRADIENT_FREE,
    OWN_CODES,
    ROW_CODES,
)
from pipeline.importable import is_importable
from pipeline.perturbation_terms import TrustWarning
from pipeline.pictures import to_unit


def look_at_rows(
    classifier: FrozenClassifier,
    attack: str,
    info: DatasetInfo,
    split: str,
    stop: int,
    *,
    num_draws: int = 1,
) -> list[TrustWarning]:
    """The warnings of `look_at_model` on the first rows of a split.

    Empty where none of them has a label among the classes.

    Args:
        attack: its name; a user's, and `square`, may do without gradients.
        stop: the rows that are attacked.
        num_draws: that the attack averages over.

    Raises:
        UserError: the classifier cannot be attacked.
    """
    table = read_rows(info, split, 0, min(stop, classifier.rows_per_call))
    labels = labels_of(table)
    good = (labels >= 0) & (labels < len(classifier.classes))
    if not good.any():
        return []
    images = images_of(table)[good]
    return look_at_pictures(classifier, attack, images, labels[good], num_draws=num_draws)


def look_at_pictures(
    classifier: FrozenClassifier,
    attack: str,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    num_draws: int = 1,
) -> list[TrustWarning]:
    """The warnings of `look_at_model` on pictures.

    Args:
        attack, num_draws: see `look_at_rows`.
        images: uint8 ``[N, H, W, C]``, at most a call of them.
        labels: int64 ``[N]``, all of them classes.

    Raises:
        UserError: the classifier cannot be attacked.
    """
    return look_at_model(
        classifier,
        to_unit(images).to(classifier.device),
        torch.from_numpy(labels).to(classifier.device),
        num_classes=len(classifier.classes),
        rows_per_call=classifier.rows_per_call,
        uses_gradients=attack not in GRADIENT_FREE and not is_importable(attack),
        num_draws=num_draws,
        training_layers=classifier.training_layers,
    )


def measured_threshold(
    judge: Judge, info: DatasetInfo, split: str, rows: int
) -> dict[str, float | int]:
    """The threshold by which another class must lead, as a set's ``attack`` states it.

    The keys are threshold, in logits, and threshold_rows, the number of the split's first rows that
    it was measured on.

    Args:
        judge: who says whether rows are broken.
        rows: at most so many, with or without a label.

    Raises:
        UserError: see `formats.perturbation.verdict.threshold_of`.
    """
    table = read_rows(info, split, 0, min(rows, info.num_rows(split)))
    logits = judge.logits_of(images_of(table))
    return {"threshold": threshold_of(logits), "threshold_rows": table.num_rows}


def stale_warnings(classifier: FrozenClassifier, opened: PerturbationSet, info: DatasetInfo) -> str:
    """What is wrong with those warnings of a set that come from its classifier, in one line.

    Empty where they are right. Warnings that come from the rows are not checked.

    Raises:
        UserError: the classifier cannot be attacked.
    """
    warnings = look_at_rows(
        classifier,
        str(opened.attack["attack"]),
        info,
        opened.split,
        opened.stop,
        num_draws=int(opened.attack.get("draws", 1)),
    )
    due = {warning.code for warning in warnings}
    stated = {str(entry["code"]) for entry in opened.manifest.get("warnings", [])}
    stated -= {*ROW_CODES, *OWN_CODES}
    if due == stated:
        return ""
    return (
        f"the manifest's warnings of the classifier are {', '.join(sorted(stated)) or 'none'}; a "
        f"look at it gives {', '.join(sorted(due)) or 'none'}"
    )
