"""The manifest of a perturbation set: what was done to what, the shards, the counts over them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from jobs.common.records import Record
from jobs.common.set_manifest import check_counts, dataset_of, files_of, versions
from jobs.perturb.task import Task
from noisestack.config import describe
from pipeline.attacks.trust.repeatability import Repeat
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
        "dataset": dataset_of(task.info, task.split, task.stop),
        "attack": attack,
        "warnings": [asdict(warning) for warning in warnings],
        "counts": counts,
        **task.attack.report(totals),
        **_accuracy("clean", clean_right, rows),
        **_accuracy("robust", clean_right - counts["successes"], rows),
        **_of_shards(records, rows),
        "versions": versions(),
        "devices": sorted({record["device"] for record in records if "device" in record}),
    }


def _counts(task: Task, records: Sequence[Record]) -> dict[str, int]:
    counts = {
        "read": task.stop,
        "rows": sum(record["num_rows"] for record in records),
        "quarantined": sum(record["num_quarantined"] for record in records),
        **{name: sum(record[name] for record in records) for name in COUNTED},
    }
    check_counts(counts, task.info, task.split, made="attacked", lost="there is nothing to attack")
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
        **files_of(records, "repeat"),
    }
