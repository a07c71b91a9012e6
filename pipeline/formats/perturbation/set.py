"""Perturbation sets: pictures, their perturbed twins, and what a classifier says to both.

DIR/part-00000.parquet ...              one row a picture, in the order of the dataset's rows
DIR/quarantine/part-00000.parquet ...   the rows that could not be attacked, where there are any
DIR/manifest.json                       model, dataset, attack, shards, counts; written last

All claims about a row can be checked with the row, the dataset and the classifier: distances are
whole levels of 1/255 (L2: the root of a whole number of squared levels), and predictions are those
for the two stored pictures. A row whose attack failed stays in the set, with the picture that came
nearest to breaking it, so that the denominator can be checked too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.formats.perturbation.distances import (
    changed_values,
    l1_levels,
    linf_levels,
    squared_l2_levels,
)
from pipeline.formats.perturbation.target import UNTARGETED
from pipeline.formats.perturbation.verdict import stated_threshold, successes
from pipeline.formats.set_manifest import (
    MANIFEST_FILE,
    hash_with_rows,
    read_manifest,
    write_manifest,
)
from pipeline.formats.shard import (
    Shard,
    check_present,
    image_column,
    shards_from_json,
    table_of,
)
from pipeline.pictures import LEVELS, picture_hashes

CLASSIFIER_FILE = "classifier.onnx"  # for checks without this code, where it was asked for
FORMAT = 3
KIND = "perturbation-set"
_MARKS = {"format": FORMAT, "kind": KIND}


@dataclass(frozen=True)
class PerturbationColumns:
    """The rows of one shard; N pictures.

    Attributes:
        ids: the pictures' ids in the dataset, N strings.
        split: the dataset's split.
        rows: int64 ``[N]``, their row numbers in the split.
        labels: int64 ``[N]``, the true labels.
        images, adversarial: uint8 ``[N, H, W, C]``, the clean and the perturbed pictures.
        clean_predictions, adversarial_predictions: int64 ``[N]``.
        margins: float64 ``[N]``, how far another class leads at the perturbed picture, in logits.
        found_attacks: which of the attacks found that picture, N names.
        found_restarts, found_steps: int64 ``[N]``, when it did.
        forwards, backwards: int64 ``[N]``, the attack's passes through the classifier.
        targets: int64 ``[N]``, the target classes, or `UNTARGETED`; None for an attack without.
    """

    ids: Sequence[str]
    split: str
    rows: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    adversarial: np.ndarray
    clean_predictions: np.ndarray
    adversarial_predictions: np.ndarray
    margins: np.ndarray
    found_attacks: Sequence[str]
    found_restarts: np.ndarray
    found_steps: np.ndarray
    forwards: np.ndarray
    backwards: np.ndarray
    targets: np.ndarray | None = None


@dataclass(frozen=True)
class PerturbationSet:
    """What `manifest.json` says.

    Attributes:
        path: the set's directory, absolute.
        model_sha256, dataset_sha256: identities of the classifier and of the dataset.
        split, start, stop: the rows of the dataset that the set covers, ``start <= row < stop``.
        attack: attack, norm, eps (levels of 1/255; 0 for no ball), steps, step_size, seed, target,
            threshold (see `verdict`; sets made before it was stated have none).
        shards: in the order of the rows.
        quarantine: files with the rows that could not be attacked, in the order of the rows.
        manifest: all of it.
    """

    path: Path
    model_sha256: str
    dataset_sha256: str
    split: str
    start: int
    stop: int
    attack: dict[str, Any]
    shards: tuple[Shard, ...]
    quarantine: tuple[Shard, ...]
    manifest: dict[str, Any]


def schema(shape: Sequence[int]) -> pa.Schema:
    """The columns of a shard for pictures of height, width, channels."""
    picture = pa.fixed_shape_tensor(pa.uint8(), tuple(shape))
    return pa.schema(
        [
            ("id", pa.string()),
            ("split", pa.string()),
            ("row", pa.int64()),  # row number in the split
            ("label", pa.int64()),
            ("target", pa.int64()),  # the class to be answered; -1 for any but the label
            ("clean_sha256", pa.string()),  # of the clean picture's bytes, rows then channels
            ("image", picture),  # clean
            ("adversarial", picture),
            ("clean_prediction", pa.int64()),
            ("adversarial_prediction", pa.int64()),
            # Of the perturbed picture, in logits: another class's lead, or the target's.
            ("margin", pa.float64()),
            ("success", pa.bool_()),
            ("linf", pa.int64()),  # largest change, in levels of 1/255
            ("l2", pa.float64()),  # length of the change, in [0, 1] units
            ("l1", pa.float64()),  # sum of the changes' sizes, in [0, 1] units
            ("l0", pa.int64()),  # how many values changed
            ("attack", pa.string()),
            ("norm", pa.string()),
            ("eps", pa.int64()),  # the ball's radius, in levels of 1/255; 0 where there is none
            ("steps", pa.int64()),
            ("seed", pa.int64()),
            ("draws", pa.int64()),  # of a classifier that answers by chance, averaged; 1 of others
            ("found_attack", pa.string()),  # which attack found the picture, and when
            ("found_restart", pa.int64()),
            ("found_step", pa.int64()),
            ("forwards", pa.int64()),  # passes through the classifier, the clean picture's included
            ("backwards", pa.int64()),
        ]
    )


def perturbation_table(columns: PerturbationColumns, attack: dict[str, Any]) -> pa.Table:
    """A shard's table; distances and success are computed here from the stored pictures.

    Args:
        attack: with the keys attack, norm, eps (levels), steps and seed, draws unless it is 1, and
            threshold unless it is `MARGIN`.
    """
    num = len(columns.rows)
    squared = squared_l2_levels(columns.images, columns.adversarial)
    targets = columns.targets if columns.targets is not None else np.full(num, UNTARGETED)
    won = successes(
        columns.labels,
        columns.clean_predictions,
        columns.margins,
        targets,
        stated_threshold(attack),
    )
    values: dict[str, Any] = {
        "id": columns.ids,
        "split": [columns.split] * num,
        "row": columns.rows,
        "label": columns.labels,
        "target": targets,
        "clean_sha256": picture_hashes(columns.images),
        "image": image_column(columns.images),
        "adversarial": image_column(columns.adversarial),
        "clean_prediction": columns.clean_predictions,
        "adversarial_prediction": columns.adversarial_predictions,
        "margin": columns.margins,
        "success": won,
        "linf": linf_levels(columns.images, columns.adversarial),
        "l2": np.sqrt(squared.astype(np.float64)) / LEVELS,
        "l1": l1_levels(columns.images, columns.adversarial) / LEVELS,
        "l0": changed_values(columns.images, columns.adversarial),
        **{name: [attack[name]] * num for name in ("attack", "norm", "eps", "steps", "seed")},
        "draws": [attack.get("draws", 1)] * num,
        "found_attack": columns.found_attacks,
        "found_restart": columns.found_restarts,
        "found_step": columns.found_steps,
        "forwards": columns.forwards,
        "backwards": columns.backwards,
    }
    return table_of(values, schema(columns.images.shape[1:]))


def write_perturbation_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Writes ``manifest.json``, which completes a perturbation set.

    Args:
        manifest: model, dataset, attack, shards and quarantine, as `PerturbationSet` names them,
            and any further keys.
    """
    write_manifest(path, {**_MARKS, **manifest}, content_hash)


def content_hash(manifest: dict[str, Any]) -> str:
    """The identity of a perturbation set: a hash over model, dataset, attack and all rows."""
    parts = {key: manifest[key] for key in ("model", "dataset", "attack")}
    # Not where the classifier came from, nor as what another program wrote it.
    parts["model"] = {key: manifest["model"][key] for key in ("sha256", "classes")}
    return hash_with_rows(parts, manifest)


def open_perturbation_set(path: Path | str) -> PerturbationSet:
    """Open a finished perturbation set.

    Raises:
        UserError: the set is missing or unfinished, or a shard is missing or has another size.
    """
    opened = read_perturbation_manifest(path)
    check_present(opened.path, [*opened.shards, *opened.quarantine])
    return opened


def read_perturbation_manifest(path: Path | str) -> PerturbationSet:
    """What a perturbation set's manifest says, unchecked: neither hash nor shards are verified.

    Raises:
        UserError: the set is missing or unfinished.
    """
    return read_manifest(path, _opened, marks=_MARKS, what="perturbation set", job="perturb")


def _opened(path: Path, manifest: dict[str, Any]) -> PerturbationSet:
    dataset = manifest["dataset"]
    return PerturbationSet(
        path,
        str(manifest["model"]["sha256"]),
        str(dataset["sha256"]),
        str(dataset["split"]),
        int(dataset["start"]),
        int(dataset["stop"]),
        dict(manifest["attack"]),
        shards_from_json(manifest["shards"], path / MANIFEST_FILE),
        shards_from_json(manifest["quarantine"], path / MANIFEST_FILE),
        manifest,
    )
