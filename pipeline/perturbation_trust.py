"""What speaks against a perturbation set's accuracy, as its classifier and its attack show it.

What its rows show is in `pipeline.formats.perturbation_warnings`.
"""

import torch

from pipeline.attacks.trust import look_at_model
from pipeline.classifier import FrozenClassifier
from pipeline.formats.dataset import DatasetInfo, images_of, labels_of, read_rows
from pipeline.formats.perturbation_set import PerturbationSet
from pipeline.formats.perturbation_warnings import GRADIENT_FREE, LOST, ROW_CODES, TrustWarning
from pipeline.importable import is_importable
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
        left_training=classifier.left_training,
    )


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
    stated -= {*ROW_CODES, LOST}
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
