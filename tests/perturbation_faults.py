"""A small perturbation set made without Ray, and ways to plant a fault in it."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from digit_models import digit_network
from digit_set import CLASSES, write_digits

from pipeline.attacks.base import Norm
from pipeline.attacks.methods.own import OwnAttack
from pipeline.attacks.settings import AttackSettings
from pipeline.classifier import Classifier, save_classifier
from pipeline.formats.dataset import DatasetInfo, load_dataset
from pipeline.formats.output import read_json, write_json
from pipeline.formats.perturbation.set import write_perturbation_manifest
from pipeline.formats.perturbation.warnings import row_warnings
from pipeline.formats.set_manifest import MANIFEST_FILE
from pipeline.formats.shard import read_part, write_shard
from pipeline.intervals import clopper_pearson
from pipeline.perturbation.attack import SetAttack
from pipeline.perturbation.built_in import BuiltIn
from pipeline.perturbation.own import Own
from pipeline.perturbation.perturber import Perturber
from pipeline.perturbation.trust import measured_threshold
from pipeline.perturbation_terms import MARGIN

COUNTED = (
    "clean_right", "successes", "within_threshold", "unmoved", "gradient_free", "last_restart",
    "trivial", "forwards", "backwards",
)  # fmt: skip


def settings(**change: Any) -> AttackSettings:
    values = {
        "attack": "pgd", "norm": Norm.LINF, "eps_levels": 40, "steps": 5, "step_size": None,
        "restarts": 1, "seed": 1, **change,
    }  # fmt: skip
    return AttackSettings(**values)


def set_attack(settings: AttackSettings | OwnAttack) -> SetAttack:
    """An attack as a set is made with it."""
    return BuiltIn(settings) if isinstance(settings, AttackSettings) else Own(settings)


def write_inputs(path: Path) -> tuple[DatasetInfo, Classifier]:
    """A dataset of digits (60 in its test split) and a classifier of them."""
    info = write_digits(path / "digits", num_train=20, num_test=60, shard_rows=25)
    save_classifier(path / "classifier", digit_network(), CLASSES, {})
    return info, Classifier.load(path / "classifier")


def make_shards(
    inputs: Path,
    output: Path,
    attack: AttackSettings | OwnAttack,
    rows_per_shard: int,
    stop: int = 60,
    *,
    widened: bool = False,
    classifier: str = "classifier",
    threshold: float = MARGIN,
) -> list[dict[str, Any]]:
    """The records of a perturbation set's shards, made in this process."""
    worker = Perturber(
        dataset=inputs / "digits",
        classifier=inputs / classifier,
        split="test",
        output=output,
        attack=set_attack(attack),
        widened=widened,
        threshold=threshold,
    )
    return [
        worker({"file": f"part-{start:05d}.parquet", "start": start, "stop": min(stop, end)})
        for start, end in ((s, s + rows_per_shard) for s in range(0, stop, rows_per_shard))
    ]


def write_set(
    inputs: Path,
    output: Path,
    attack: AttackSettings | OwnAttack,
    *,
    classifier: str = "classifier",
) -> None:
    """A finished perturbation set of 60 rows in two shards."""
    judge, info = Classifier.load(inputs / classifier), load_dataset(inputs / "digits")
    measured = measured_threshold(judge, info, "test", 32)
    records = make_shards(
        inputs, output, attack, 40, classifier=classifier, threshold=float(measured["threshold"])
    )
    counts = {name: sum(r[name] for r in records) for name in COUNTED}
    told = {**set_attack(attack).record(), **measured}
    warnings = row_warnings({"rows": 60, **counts}, told, len(CLASSES))
    right, standing = counts["clean_right"], counts["clean_right"] - counts["successes"]
    manifest = {
        "model": {
            "sha256": judge.sha256,
            "classes": list(CLASSES),
        },
        "dataset": {
            "sha256": info.sha256,
            "shape": [8, 8, 1],
            "split": "test",
            "start": 0,
            "stop": 60,
        },
        "attack": told,
        "warnings": [asdict(warning) for warning in warnings],
        "counts": {"read": 60, "rows": 60, "quarantined": 0, **counts},
        "clean_accuracy": right / 60,
        "clean_accuracy_interval_95": list(clopper_pearson(right, 60)),
        "robust_accuracy": standing / 60,
        "robust_accuracy_interval_95": list(clopper_pearson(standing, 60)),
        "norms": {
            "linf_max_levels": max(r["linf_max"] for r in records),
            "l2_max": max(r["l2_max"] for r in records),
            "l2_mean": sum(r["l2_sum"] for r in records) / 60,
        },
        "shards": records,
        "quarantine": [],
    }
    write_perturbation_manifest(output, manifest)


def plant(output: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the first shard's table, and make the manifest agree with the new file."""
    manifest = read_json(output / MANIFEST_FILE)
    record = manifest["shards"][0]
    table = change(read_part(output / record["file"], 0, record["num_rows"]))
    record.update(asdict(write_shard(table, output, record["file"])))
    write_json(output / MANIFEST_FILE, manifest)


def replace(table: pa.Table, column: str, values: pa.Array | list[Any]) -> pa.Table:
    """The table with other values in one column."""
    field = table.schema.field(column)
    array = values if isinstance(values, pa.Array) else pa.array(values, field.type)
    return table.set_column(table.column_names.index(column), field, array)
