"""Warnings that the accuracy in a perturbation set may be wrong.

A manifest's ``warnings`` are a list of code, count, of and text. Those that follow from the rows
are computed again when the set is checked.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.formats.perturbation.target import UNTARGETED
from pipeline.formats.perturbation.verdict import stated_threshold
from pipeline.formats.shard import labels_of
from pipeline.importable import is_importable
from pipeline.intervals import clopper_pearson
from pipeline.perturbation_terms import TRANSFER, TrustWarning

# Attacks that use no gradient of the classifier: one that breaks what gradients left standing shows
# that they mislead.
GRADIENT_FREE = ("square", "audit_square", TRANSFER)
# A restart that still breaks more than this share of the rows would move the accuracy in the last
# digit that is reported.
_GAIN = 0.002
_CHANCE = 0.01  # probability that guessing is right as often
# Of a user's attack, and not in the set's rows: what its pictures were before they were brought
# into the ball, and what became of the generators.
LOST, NOT_REPEATABLE, SEED_IGNORED = OWN_CODES = ("lost", "not_repeatable", "seed_ignored")
ROW_CODES = (
    "chance", "masked_gradient", "restarts", "within_threshold", "unmoved", "trivial",
)  # fmt: skip


def doubtful_rows(table: pa.Table, attack: Mapping[str, Any]) -> dict[str, int]:
    """What the warnings count, over rows in the perturbation set's schema.

    Args:
        attack: the manifest's.

    Returns:
        unmoved: rows that were attacked (right when clean, and not of the target's class) and
        whose picture did not change at all. gradient_free: rows that an attack without gradients
        broke after others had not. last_restart: rows that the last restart broke.
        within_threshold: rows, right when clean, whose picture is answered wrongly (with a target,
        as that) by less than the set's threshold, which is no success.
    """
    right = labels_of(table, "clean_prediction") == labels_of(table)
    won = table.column("success").to_numpy()
    attacks = np.array(table.column("found_attack").to_pylist(), dtype=object)
    alone = np.array(table.column("attack").to_pylist(), dtype=object) == attacks
    restarts = int(attack.get("restarts", 1))
    last = table.column("found_restart").to_numpy() == restarts - 1
    said, target = labels_of(table, "adversarial_prediction"), labels_of(table, "target")
    turned = np.where(target == UNTARGETED, said != labels_of(table), said == target)
    attacked = right & (target != labels_of(table))  # a picture of the target's class is not
    return {
        "unmoved": int((attacked & (table.column("linf").to_numpy() == 0)).sum()),
        "gradient_free": int((won & ~alone & np.isin(attacks, GRADIENT_FREE)).sum()),
        "last_restart": int((won & last & (restarts > 1)).sum()),
        "within_threshold": int((attacked & turned & ~won).sum()),
    }


def row_warnings(
    counts: Mapping[str, int], attack: Mapping[str, Any], num_classes: int
) -> list[TrustWarning]:
    """The warnings that follow from counts over all rows.

    Args:
        counts: rows, clean_right, successes, those of `doubtful_rows`, and trivial, of
            `formats.perturbation.trivial_pictures.count_trivial`.
        attack: the manifest's.
    """
    rows, right = counts["rows"], counts["clean_right"]
    warnings = []
    if rows and _is_chance(right, rows, num_classes):
        warnings.append(
            TrustWarning(
                "chance",
                right,
                rows,
                f"the classifier is right about {right:,} of {rows:,} clean pictures, which is no "
                f"better than guessing among {num_classes} classes: it may expect another range "
                "of values than [0, 1], or other labels",
            )
        )
    if count := counts["gradient_free"]:
        warnings.append(
            TrustWarning(
                "masked_gradient",
                count,
                right,
                f"square, which uses no gradient, broke {count:,} pictures that the attacks with "
                "gradients left standing: gradients are masked, and true robustness is likely "
                "lower than reported",
            )
        )
    # Attacks that aim at a class a restart end with the least likely one: there is none after it.
    aims = str(attack["attack"]).endswith("_targeted")
    count = counts["last_restart"]
    if not aims and count > max(1, _GAIN * rows):
        warnings.append(
            TrustWarning(
                "restarts",
                count,
                right,
                f"the last of {attack['restarts']} restarts still broke {count:,} pictures: more "
                "restarts would break more; give --restarts more, or a stronger attack",
            )
        )
    count = counts.get("within_threshold", 0)  # which sets without a stated threshold do not count
    if count > _GAIN * rows:
        standing = right - counts["successes"]
        warnings.append(
            TrustWarning(
                "within_threshold",
                count,
                right,
                f"{count:,} pictures are answered wrongly, but by no more than "
                f"{stated_threshold(attack):.3g} logits, which rounding elsewhere may undo; they "
                f"count as withstood: were they counted as broken, accuracy would be "
                f"{(standing - count) / rows:.2%} and not {standing / rows:.2%}",
            )
        )
    if count := counts["unmoved"]:
        text = f"{count:,} pictures {_unmoved(str(attack['attack']))}"
        warnings.append(TrustWarning("unmoved", count, right, text))
    if count := counts["trivial"]:
        won = counts["successes"]
        left, without = ((right - broken) / rows for broken in (won, won - count))
        warnings.append(
            TrustWarning(
                "trivial",
                count,
                won,
                f"{count:,} of the {won:,} broken pictures are of one colour, or as far from the "
                "clean one as black, grey or white is: an attack may return these for pictures "
                "that it cannot break, and a classifier gets them wrong whatever it withstands; "
                f"without them the robust accuracy is {without:.2%} and not {left:.2%}",
            )
        )
    return warnings


def _is_chance(right: int, rows: int, num_classes: int) -> bool:
    """Whether the answers are no better than guesses, and there are enough rows to say so.

    That is: guessing would be right as often, and the interval's upper end lies at most half way
    from there to no mistake at all.
    """
    from scipy.stats import binom  # takes a second to import, in each worker too

    guessing = 1 / num_classes
    enough = clopper_pearson(right, rows)[1] < (1 + guessing) / 2
    return bool(enough and binom.sf(right - 1, rows, guessing) > _CHANCE)


def _unmoved(attack: str) -> str:
    """What is known of pictures that did not change, by whose attack it was."""
    if is_importable(attack):
        return (
            "came back unmoved, or no nearer to another class: the attack found nothing for them, "
            "which does not show that there is nothing; give it more steps, or try another"
        )
    if attack == TRANSFER:
        return "are unmoved in the set whose pictures are shown; their robustness is not shown"
    tried = "did not change at all: no picture that was tried came nearer to another class"
    if attack in GRADIENT_FREE:
        return f"{tried}; their robustness is not shown, so try more steps or another attack"
    return (
        f"{tried}, as where the gradient vanishes; their robustness is not shown, so try another "
        "attack or step_size"
    )
