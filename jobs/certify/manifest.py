"""The manifest of a certificate set: what was certified of what, the shards, the figures."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import ray
import scipy
import torch

from jobs.certify.task import Task
from jobs.common.records import Record
from noisestack import __version__
from noisestack.config import describe
from pipeline.certification.doubts import row_warnings
from pipeline.errors import UserError
from pipeline.formats.certificate.rows import COUNTED, figures_of
from pipeline.perturbation_terms import TrustWarning


def manifest_of(
    task: Task, records: Sequence[Record], first_warnings: Sequence[TrustWarning] = ()
) -> dict[str, Any]:
    """The manifest of a task's set.

    Args:
        records: of the shards.
        first_warnings: of a look at the base; the rows' come after them.

    Raises:
        UserError: all rows were bad.
        RuntimeError: a row was neither certified nor set aside.
    """
    tally: dict[str, float] = {}
    for record in records:
        for name, value in record.items():
            if name in COUNTED or name == "radius_sum" or name.startswith("right_at_"):
                tally[name] = tally.get(name, 0) + value
    counts = {
        "read": task.stop,
        "quarantined": sum(record["num_quarantined"] for record in records),
        **{name: int(tally[name]) for name in COUNTED},
    }
    if counts["rows"] + counts["quarantined"] != task.stop:
        raise RuntimeError(
            f"{task.stop} rows were read, {counts['rows']} certified and {counts['quarantined']} "
            "set aside"
        )
    if not counts["rows"]:
        raise UserError(
            f"none of the {task.stop} rows of {task.info.path}, split {task.split}, has a label "
            "among the classes; there is no certified accuracy to state"
        )
    certificate = task.certificate
    warnings = [*first_warnings, *row_warnings(counts, certificate, len(task.base.classes))]
    return {
        "config": describe(task.config),
        "base": task.identity,
        "dataset": {
            "sha256": task.info.sha256,
            "shape": list(task.info.shape),
            "split": task.split,
            "start": 0,
            "stop": task.stop,
        },
        "certificate": certificate,
        "warnings": [asdict(warning) for warning in warnings],
        "counts": counts,
        "draws_a_row": counts["draws"] / counts["rows"],
        **figures_of(tally, certificate),
        "seconds": sum(record["seconds"] for record in records),
        "shards": [
            {key: value for key, value in record.items() if key != "quarantine"}
            for record in records
            if record["num_rows"]
        ],
        "quarantine": [entry for record in records for entry in record["quarantine"]],
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    return {
        "noisestack": __version__,
        "torch": torch.__version__,
        "ray": ray.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "pyarrow": version("pyarrow"),
        "python": platform.python_version(),
    }
