"""The class that a targeted attack aims a row at, which anyone can compute again."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np

from pipeline.class_names import NO_LABEL, label_by_name_or_number
from pipeline.errors import UserError
from pipeline.perturbation_terms import NO_TARGET, RULES

UNTARGETED = -1  # in the column `target`


def resolved_target(target: str, classes: tuple[str, ...]) -> str:
    """Resolves a target: a rule's name stays, a class's name or number becomes its number.

    A class that has the name of a rule must be given by its number.

    Raises:
        UserError: there is no such class.
    """
    if target in RULES:
        return target
    label = label_by_name_or_number(target, classes)
    if label is not None and label != NO_LABEL:
        return str(label)
    raise UserError(
        f"target {target!r} is neither {', '.join(RULES)} nor one of the classifier's "
        f"{len(classes)} classes ({', '.join(classes[:12])}{', …' if len(classes) > 12 else ''})"
    )


def target_words(target: str, classes: Sequence[str]) -> str:
    """What a targeted attack aims at, for a person: ``towards the least likely class``.

    Args:
        target: one of `RULES`, or a class's number, as a manifest has it.
        classes: the classifier's.

    Returns:
        Empty for an attack without a target.
    """
    if target == NO_TARGET:
        return ""
    words = {
        "least_likely": "the least likely class",
        "random": "a random class",
        "next": "the next class",
    }
    return f"towards {words[target] if target in words else classes[int(target)]}"


def targets_of(
    target: str, logits: np.ndarray, labels: np.ndarray, rows: np.ndarray, seed: int
) -> np.ndarray:
    """The class that an attack aims each row at, int64 ``[N]``; `UNTARGETED` for any wrong class.

    Args:
        target: least_likely: the class of the clean picture's lowest logit; random: the one
            that is ``1 + h mod (K - 1)`` after the label, where h are the first 8 bytes, big end
            first, of the SHA-256 of the text ``seed:row``; next: the one after the label, and the
            first after the last; none; or a class's number.
        logits: ``[N, K]``, of the clean pictures.
        labels: int64 ``[N]``, the true ones.
        rows: int64 ``[N]``, row numbers in the dataset.
        seed: the attack's.
    """
    num_classes = logits.shape[1]
    if target == NO_TARGET:
        return np.full(len(labels), UNTARGETED, dtype=np.int64)
    if target == "least_likely":
        return np.asarray(logits.argmin(axis=1), dtype=np.int64)
    if target == "next":
        return np.asarray((labels + 1) % num_classes, dtype=np.int64)
    if target == "random":
        drawn = [sha256(f"{seed}:{row}".encode()).digest()[:8] for row in rows.tolist()]
        further = [1 + int.from_bytes(number, "big") % (num_classes - 1) for number in drawn]
        return np.asarray((labels + np.array(further, np.int64)) % num_classes, dtype=np.int64)
    return np.full(len(labels), int(target), dtype=np.int64)


def may_be_targets(
    recorded: np.ndarray,
    target: str,
    num_classes: int,
    labels: np.ndarray,
    rows: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Whether each row's recorded target may follow from the rule, bool ``[N]``.

    Without the classifier's logits any class may be the least likely one.

    Args:
        recorded: the targets in the set, int64 ``[N]``.
    """
    if target == "least_likely":
        return np.asarray((recorded >= 0) & (recorded < num_classes))
    # None of the other rules looks at logits, only at how many there are.
    nothing = np.zeros((len(labels), num_classes))
    return np.asarray(recorded == targets_of(target, nothing, labels, rows, seed))


def are_targets(
    recorded: np.ndarray,
    target: str,
    logits: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    seed: int,
    *,
    tie: float,
) -> np.ndarray:
    """Whether each row's recorded target follows from the rule, bool ``[N]``.

    Args:
        recorded: int64 ``[N]``.
        tie: how far the logit of a least likely class may be above the lowest.
    """
    same = recorded == targets_of(target, logits, labels, rows, seed)
    if target != "least_likely":
        return np.asarray(same)
    in_range = (recorded >= 0) & (recorded < logits.shape[1])
    own = logits[np.arange(len(logits)), np.where(in_range, recorded, 0)]
    return np.asarray(same | (in_range & (own - logits.min(axis=1) < tie)))
