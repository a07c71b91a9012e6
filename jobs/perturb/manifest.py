"""The manifest of a perturbation set: what was done to what, the shards, the counts over them."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import ray
import torch

from jobs.common.records import Record
from jobs.perturb.task import Task
from noisestack import __version__
from noisestack.config import describe
from pipeline.attacks.trust.repeatability import Repeat
from pipeline.errors import UserError
from pipeline.formats.perturbation.warnings import row_warnings
from pipeline.intervals import clopper_pearson
from pipeline.perturbation.attack import Totals
from pipeline.perturbation.perturber import COUNTED
from pipeline.perturbation_terms import TrustWarning


def manifest_of(
    task: Task,
    records: Sequence[Record],
    threshold: Mapping[str, float | int],
    onnx_sha256: str | None = None,
    first_warnings: Sequence[TrustWarning] = (),
    sample: Record | None = None,
    file_record: Record | None = None,
) -> dict[str, Any]:
    """The manifest of a task's set, but for `norms.median_of_broken`.

    Args:
        records: of the shards.
        threshold: as `measured_threshold` gives it.
        onnx_sha256: of the classifier's ONNX file, where there is one.
        first_warnings: of a look at the classifier before the attack; the rows' come after them.
        sample: what the audit of a sample counted before its alarm was widened to all rows.
        file_record: of the file that the attack made first.

    Raises:
        UserError: all rows were bad.
        RuntimeError: a row was neither attacked nor set aside.
    """
    counts = _counts(task, records)
    rows, clean_right = counts["rows"], counts["clean_right"]
    attack = {**task.attack.record(), **threshold}
    repeat = next((Repeat(**record["repeat"]) for record in records if "repeat" in record), None)
    totals = Totals(counts, repeat, sample, file_record)
    warnings = [
        *first_warnings,
        *row_warnings(counts, attack, len(task.classifier.classes)),
        *task.attack.warnings(totals),
    ]
    return {
        "config": describe(task.config),
        "model": {
            "sha256": task.classifier.sha256,
            "classes": list(task.classifier.classes),
            "rows_per_call": task.classifier.rows_per_call,
            **task.classifier.origin,
            **({"onnx_sha256": onnx_sha256} if onnx_sha256 else {}),
        },
        "dataset": {
            "sha256": task.info.sha256,
            "shape": list(task.info.shape),
            "split": task.split,
            "start": 0,
            "stop": task.stop,
        },
        "attack": attack,
        "warnings": [asdict(warning) for warning in warnings],
        "counts": counts,
        **task.attack.report(totals),
        **_accuracy("clean", clean_right, rows),
        **_accuracy("robust", clean_right - counts["successes"], rows),
        **_of_shards(records, rows),
        "versions": _versions(),
        "devices": sorted({record["device"] for record in records if "device" in record}),
    }


def _counts(task: Task, records: Sequence[Record]) -> dict[str, int]:
    counts = {
        "read": task.stop,
        "rows": sum(record["num_rows"] for record in records),
        "quarantined": sum(record["num_quarantined"] for record in records),
        **{name: sum(record[name] for record in records) for name in COUNTED},
    }
    if counts["rows"] + counts["quarantined"] != task.stop:
        raise RuntimeError(
            f"{task.stop} rows were read, {counts['rows']} attacked and {counts['quarantined']} "
            "set aside"
        )
    if counts["rows"] == 0:
        raise UserError(
            f"none of the {task.stop} rows of {task.info.path}, split {task.split}, has a label "
            "among the classes; there is nothing to attack"
        )
    return counts


def _accuracy(which: str, right: int, rows: int) -> dict[str, Any]:
    interval = list(clopper_pearson(right, rows))
    return {f"{which}_accuracy": right / rows, f"{which}_accuracy_interval_95": interval}


def _of_shards(records: Sequence[Record], rows: int) -> dict[str, Any]:
    """How far pictures were changed, and the files."""
    return {
        "norms": {
            "linf_max_levels": max(record["linf_max"] for record in records),
            "l2_max": max(record["l2_max"] for record in records),
            "l2_mean": sum(record["l2_sum"] for record in records) / rows,
        },
        "shards": [
            {key: value for key, value in record.items() if key not in ("quarantine", "repeat")}
            for record in records
            if record["num_rows"]
        ],
        "quarantine": [entry for record in records for entry in record["quarantine"]],
    }


def _versions() -> dict[str, str]:
    return {
        "noisestack": __version__,
        "torch": torch.__version__,
        "ray": ray.__version__,
        "numpy": np.__version__,
        "pyarrow": version("pyarrow"),
        "python": platform.python_version(),
    }
