"""Checks of a perturbation set that need neither the dataset nor the classifier.

Ball, distances, hashes and success follow from a row's own columns and the manifest, and the
manifest's counts and accuracies follow from all rows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.formats.perturbation.distances import (
    NORMS,
    changed_values,
    in_ball,
    l1_levels,
    linf_levels,
    squared_l2_levels,
)
from pipeline.formats.perturbation.target import UNTARGETED, may_be_targets
from pipeline.formats.perturbation.trivial_pictures import count_trivial
from pipeline.formats.perturbation.universal import NOT_DELTA, with_delta
from pipeline.formats.perturbation.verdict import stated_threshold, successes
from pipeline.formats.perturbation.warnings import doubtful_rows
from pipeline.formats.shard import images_of
from pipeline.intervals import clopper_pearson
from pipeline.perturbation_terms import NO_TARGET, RULES
from pipeline.pictures import LEVELS, picture_hashes

_CONSTANT = ("attack", "norm", "eps", "steps", "seed")
# Of lengths in [0, 1] units, which are roots of whole numbers over 255: float64 keeps them to 1e-13
# even of a million values.
_LENGTH = 1e-9
# Sums that grow, and the largest values.
_LARGEST = ("linf_max", "l2_max")

Tally = dict[str, float]


def check_attack_record(attack: Mapping[str, Any]) -> None:
    """Checks that a manifest's ``attack`` holds what `contradictions` needs.

    Raises:
        KeyError: a key is missing.
        TypeError: a value has another type.
        ValueError: a value is out of range.
    """
    for name, kind in (("attack", str), ("norm", str), ("eps", int), ("steps", int), ("seed", int)):
        if not isinstance(attack[name], kind):
            raise TypeError(f"its attack's {name} is {attack[name]!r}")
    for name in ("draws", "restarts"):
        if not isinstance(attack.get(name, 1), int):
            raise TypeError(f"its attack's {name} is {attack[name]!r}")
    if attack["norm"] not in NORMS:
        raise ValueError(f"its attack's norm is {attack['norm']!r}, not {', '.join(NORMS)}")
    threshold = stated_threshold(attack)
    if not 0 < threshold < float("inf"):
        raise ValueError(f"its attack's threshold is {threshold}")
    if "threshold" in attack:
        measured = attack.get("threshold_rows")
        if not isinstance(measured, int) or measured < 1:
            raise ValueError(f"its attack's threshold_rows is {measured!r}, so none can measure it")
    target = attack.get("target", NO_TARGET)
    if target not in RULES and not str(target).isdecimal():
        raise ValueError(f"its attack's target is {target!r}")


def contradictions(
    table: pa.Table,
    split: str,
    attack: Mapping[str, Any],
    num_classes: int,
    *,
    delta: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Which rows contradict themselves or the manifest, bool ``[N]`` for each kind of fault.

    Args:
        table: rows in the perturbation set's schema, without a missing value.
        split, attack: what the manifest says.
        num_classes: of the classifier.
        delta: int16 ``[H, W, C]``, of a set with one perturbation for all pictures.
    """
    names = [name for name in table.column_names if name not in ("image", "adversarial")]
    columns = {name: table.column(name).to_numpy() for name in names}
    images, stored = images_of(table), images_of(table, "adversarial")
    labels, targets, margins = columns["label"], columns["target"], columns["margin"]
    l2 = np.sqrt(squared_l2_levels(images, stored).astype(np.float64)) / LEVELS
    said = columns["adversarial_prediction"]
    aimed = targets != UNTARGETED
    wanted = np.where(aimed, said == targets, said != labels)
    linf = linf_levels(images, stored)
    faults = {
        "split is not the set's": columns["split"] != split,
        "target is not the set's": ~may_be_targets(
            targets,
            str(attack.get("target", NO_TARGET)),
            num_classes,
            labels,
            columns["row"],
            int(attack["seed"]),
        ),
        "clean_sha256 is not the picture's": columns["clean_sha256"] != picture_hashes(images),
        "adversarial lies outside the ball": ~in_ball(
            images, stored, str(attack["norm"]), int(attack["eps"])
        ),
        "linf is not the pictures' distance": columns["linf"] != linf,
        # Written so that a NaN is a fault.
        "l2 is not the pictures' distance": ~(np.abs(columns["l2"] - l2) <= _LENGTH),
        "l1 is not the pictures' distance": ~(
            np.abs(columns["l1"] - l1_levels(images, stored) / LEVELS) <= _LENGTH
        ),
        "l0 is not the number of changed values": columns["l0"] != changed_values(images, stored),
        "a prediction is none of the classes": _no_class(columns["clean_prediction"], num_classes)
        | _no_class(said, num_classes),
        "margin is not a finite number": ~np.isfinite(margins),
        "adversarial_prediction does not follow from margin": ((margins > 0) & ~wanted)
        | ((margins < 0) & wanted),
        "success does not follow from label, prediction and margin": columns["success"]
        != successes(
            labels, columns["clean_prediction"], margins, targets, stated_threshold(attack)
        ),
        "a picture that did not change is a success": columns["success"] & (linf == 0),
        **{f"{name} is not the set's": columns[name] != attack[name] for name in _CONSTANT},
        "draws is not the set's": columns["draws"] != attack.get("draws", 1),
        "a count of steps or passes is below 0": np.any(
            [
                columns[name] < 0
                for name in ("found_step", "found_restart", "forwards", "backwards")
            ],
            axis=0,
        ),
    }
    if delta is not None:
        faults[NOT_DELTA] = (stored != with_delta(images, delta)).any(axis=(1, 2, 3))
    return {kind: np.asarray(mask) for kind, mask in faults.items()}


def tally_of(table: pa.Table, attack: Mapping[str, Any]) -> Tally:
    """The manifest's counts over some rows; `add_tally` adds them up."""
    columns = {
        name: table.column(name).to_numpy()
        for name in ("label", "clean_prediction", "success", "forwards", "backwards", "linf", "l2")
    }
    return dict(
        rows=table.num_rows,
        clean_right=int((columns["clean_prediction"] == columns["label"]).sum()),
        successes=int(columns["success"].sum()),
        forwards=int(columns["forwards"].sum()),
        backwards=int(columns["backwards"].sum()),
        linf_max=int(columns["linf"].max(initial=0)),
        l2_max=float(columns["l2"].max(initial=0.0)),
        l2_sum=float(columns["l2"].sum()),
        **doubtful_rows(table, attack),
        trivial=count_trivial(table, attack),
    )


def add_tally(whole: Tally, part: Mapping[str, float]) -> None:
    """Adds the tally of further rows to ``whole``."""
    for name, value in part.items():
        has = whole.get(name, 0)
        whole[name] = max(has, value) if name in _LARGEST else has + value


def wrong_figures(manifest: Mapping[str, Any], tally: Mapping[str, float]) -> list[str]:
    """One line for each of the manifest's figures that its rows contradict.

    A figure that the manifest does not have is passed over.

    Args:
        tally: of all rows of the shards.
    """
    rows, right, won = (int(tally.get(name, 0)) for name in ("rows", "clean_right", "successes"))
    if not rows:
        return []
    standing = right - won
    due: dict[tuple[str, ...], Any] = {
        ("counts", name): tally[name] for name in tally if name not in _LARGEST and name != "l2_sum"
    }
    due |= {
        ("counts", "verified"): rows,
        ("clean_accuracy",): right / rows,
        ("robust_accuracy",): standing / rows,
        ("norms", "linf_max_levels"): tally["linf_max"],
        ("norms", "l2_max"): tally["l2_max"],
        ("norms", "l2_mean"): tally["l2_sum"] / rows,
    }
    for name, count in (("clean", right), ("robust", standing)):
        for place, bound in enumerate(clopper_pearson(count, rows)):
            due[(f"{name}_accuracy_interval_95", str(place))] = bound
    lines = []
    for path, value in due.items():
        stated = _value_at(manifest, path)
        # Sums of lengths depend on their order by some units in the last place.
        same = stated is None or (
            isinstance(stated, int | float)
            and abs(stated - value) <= 1e-9 * max(1.0, abs(float(value)))
        )
        if not same:
            lines.append(f"says {' '.join(path)} {stated}, and its rows give {value:.12g}")
    return lines


def _value_at(manifest: Any, path: tuple[str, ...]) -> Any:
    value = manifest
    for key in path:
        try:
            value = value[int(key) if isinstance(value, list) else key]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value


def _no_class(predictions: np.ndarray, num_classes: int) -> np.ndarray:
    return np.asarray((predictions < 0) | (predictions >= num_classes))
