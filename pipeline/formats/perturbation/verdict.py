"""Whether a picture counts as broken: by how much another class must lead, in logits.

A forward pass elsewhere differs in the last bits, and the verdict must not. So another class must
lead by more than a threshold, which a set states in its manifest, ``attack.threshold``. A logit has
no unit of its own, as one factor in front of the softmax changes no answer: the threshold is a
share of the classifier's own spread, and logits of any size give the same verdicts.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.formats.perturbation.target import UNTARGETED
from pipeline.perturbation_terms import MARGIN

# Of the spread. Calls of 1 to 64 rows, float64 and ONNX Runtime gave logits that lay apart by up to
# 3 to 7 ten-millionths of it, for networks of 3 to 400 steps on digits: this is 70 times as much.
# For the last of them it is 0.0004, for a network of ImageNet some 0.001.
SHARE = 5e-5
# Of the highest logit: as much above float32's half a unit in the last place, 6e-8, which counts
# where one constant is added to all logits.
_ROUNDING = 1e-6
# How far the threshold may so come above its share of the spread before attacks suffer: a constant
# of 200 spreads.
_MOST_ROUNDING = 4.0
# Between the threshold as stated and as measured again; other arithmetic moves it by 1e-6.
THRESHOLD_TOLERANCE = 0.01


def logit_spread(logits: np.ndarray) -> float:
    """How far the highest logit lies above the middle one, the median over rows ``[N, K]``.

    Not above the lowest: logits of classes that are masked, by -1e9 say, are no measure.
    """
    wide = logits.astype(np.float64)
    return float(np.median(wide.max(axis=1) - np.median(wide, axis=1)))


def threshold_of(logits: np.ndarray) -> float:
    """By how much another class must lead, in logits, for a classifier with these ``[N, K]``.

    Raises:
        UserError: most rows have one logit for all classes, or logits so far from 0 that float32
            keeps too few digits of their differences.
    """
    spread = logit_spread(logits)
    if spread <= 0:
        raise UserError(
            f"the classifier gives all classes the same logit, or half of them the highest one, in "
            f"most of the {len(logits)} pictures that were looked at: it decides nothing that an "
            "attack could change"
        )
    height = float(np.median(np.abs(logits.astype(np.float64).max(axis=1))))
    share, rounding = SHARE * spread, _ROUNDING * height
    if rounding > _MOST_ROUNDING * share:
        raise UserError(
            f"the classifier's logits lie around {height:.3g} and differ by {spread:.3g} only, of "
            "which float32 keeps too few digits; subtract their mean, row by row, inside it"
        )
    return max(share, rounding)


def stated_threshold(attack: Mapping[str, Any]) -> float:
    """A set's threshold in logits, by its manifest's ``attack``; `MARGIN` where none is stated."""
    return float(attack.get("threshold", MARGIN))


def margins_of(
    logits: np.ndarray, labels: np.ndarray, targets: np.ndarray | None = None
) -> np.ndarray:
    """How far a wrong class leads in each row, float64 ``[N]``; negative where the label leads.

    It is ``max_{i≠y} z_i - z_y`` of logits ``[N, K]`` and labels ``[N]``; for a row with a target,
    ``z_t - max_{i≠t} z_i``.
    """
    aimed = np.zeros(len(labels), bool) if targets is None else targets != UNTARGETED
    chosen = labels if targets is None else np.where(aimed, targets, labels)
    others = logits.astype(np.float64)
    own = others[np.arange(len(labels)), chosen].copy()
    others[np.arange(len(labels)), chosen] = -np.inf
    lead = others.max(axis=1) - own
    return np.asarray(np.where(aimed, -lead, lead))


def successes(
    labels: np.ndarray,
    clean_predictions: np.ndarray,
    margins: np.ndarray,
    targets: np.ndarray | None,
    threshold: float,
) -> np.ndarray:
    """Which right answers became wrong by more than ``threshold``, bool ``[N]``.

    A row with a target must have become that class, which is not its label.

    A picture that the classifier gets wrong by itself is no success of the attack. Robust accuracy
    is clean accuracy less the share of successes: a picture counts as robust if the clean one, and
    the perturbed one, are both classified rightly.

    Args:
        margins: of the perturbed pictures, as `margins_of` gives them.
        threshold: in logits.
    """
    wrong = np.ones(len(labels), bool) if targets is None else targets != labels
    return np.asarray((clean_predictions == labels) & wrong & (margins > threshold))
