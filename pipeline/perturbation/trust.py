"""What speaks against a perturbation set's accuracy, as its classifier and its attack show it.

What its rows show is in `pipeline.formats.perturbation.warnings`.
"""

from typing import Any

import torch

from pipeline.attacks.trust.model_check import look_at_model
from pipeline.attacks.trust.repeatability import Repeat
from pipeline.classifier import FrozenClassifier
from pipeline.formats.dataset import DatasetInfo, images_of, labels_of, read_rows
from pipeline.formats.perturbation.check import Judge
from pipeline.formats.perturbation.set import PerturbationSet
from pipeline.formats.perturbation.verdict import threshold_of
from pipeline.formats.perturbation.warnings import (
    GRADIENT_FREE,
    LOST,
    NOT_REPEATABLE,
    OWN_CODES,
    ROW_CODES,
    SEED_IGNORED,
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
    """What the first rows of a split show of a classifier, as `look_at_model` tells it; nothing
    where none of them has a label among the classes.

    Args:
        attack: its name; a user's, and `square`, may do without gradients.
        stop: the rows that are attacked.
        num_draws: that the attack averages over.

    Raises:
        UserError: the classifier cannot be attacked.
    """
    table = read_rows(info, split, 0, min(stop, classifier.rows_per_call))
    labels, num_classes = labels_of(table), len(classifier.classes)
    good = (labels >= 0) & (labels < num_classes)
    if not good.any():
        return []
    return look_at_model(
        classifier,
        to_unit(images_of(table)[good]).to(classifier.device),
        torch.from_numpy(labels[good]).to(classifier.device),
        num_classes=num_classes,
        rows_per_call=classifier.rows_per_call,
        uses_gradients=attack not in GRADIENT_FREE and not is_importable(attack),
        num_draws=num_draws,
        training_layers=classifier.training_layers,
    )


def measured_threshold(
    judge: Judge, info: DatasetInfo, split: str, rows: int
) -> dict[str, float | int]:
    """By how much another class must lead, in logits, as a set's ``attack`` states it: threshold,
    and threshold_rows, the first rows of the split that it was measured on.

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
    """What is wrong with the warnings of a set that a look at its classifier gives, in one line;
    empty where they are as they should be. Those that its rows give are not looked at.

    Raises:
        UserError: the classifier cannot be attacked.
    """
    noticed = look_at_rows(
        classifier,
        str(opened.attack["attack"]),
        info,
        opened.split,
        opened.stop,
        num_draws=int(opened.attack.get("draws", 1)),
    )
    due = {warning.code for warning in noticed}
    stated = {str(told["code"]) for told in opened.manifest.get("warnings", [])}
    stated -= {*ROW_CODES, *OWN_CODES}
    if due == stated:
        return ""
    return (
        f"the manifest's warnings of the classifier are {', '.join(sorted(stated)) or 'none'}; a "
        f"look at it gives {', '.join(sorted(due)) or 'none'}"
    )


def lost_warnings(lost: int, clean_right: int) -> list[TrustWarning]:
    """What is said of a user's attack whose pictures did not keep to the ball, or to 8 bits."""
    if not lost:
        return []
    text = (
        f"{lost:,} pictures that the attack itself broke are classified rightly once they are "
        "inside the ball and in 8 bits: it may leave the ball, or rely on what rounding takes away"
    )
    return [TrustWarning(LOST, lost, clean_right, text)]


def repeat_warnings(repeat: Repeat | None) -> list[TrustWarning]:
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


def repeat_report(repeat: Repeat | None) -> dict[str, Any]:
    """What a manifest says of whether a user's attack is reproducible, and why; None for whether
    where the first shard had no picture to attack."""
    if repeat is None:
        return {"reproducible": None, "reproducible_why": "the first shard had nothing to attack"}
    if repeat.differing:
        return {"reproducible": False, "reproducible_why": repeat_warnings(repeat)[0].text}
    why = f"the first batch, of {repeat.rows} rows, ended in the same bits twice with one seed"
    return {"reproducible": True, "reproducible_why": why}
