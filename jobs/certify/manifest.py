"""The manifest of a certificate set: what was certified of what, the shards, the figures."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import scipy

from jobs.certify.task import Task
from jobs.common.records import Record
from jobs.common.set_manifest import check_counts, dataset_of, files_of, versions
from noisestack.config import describe
from pipeline.formats.certificate.rows import COUNTED, figures_of
from pipeline.formats.certificate.warnings import row_warnings
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
    check_counts(
        counts,
        task.info,
        task.split,
        made="certified",
        lost="there is no certified accuracy to state",
    )
    certificate = task.certificate
    warnings = [*first_warnings, *row_warnings(counts, certificate, len(task.base.classes))]
    return {
        "config": describe(task.config),
        "base": task.identity,
        "dataset": dataset_of(task.info, task.split, task.stop),
        "certificate": certificate,
        "warnings": [asdict(warning) for warning in warnings],
        "counts": counts,
        **figures_of(tally, certificate),
        **files_of(records),
        "versions": {**versions(), "scipy": scipy.__version__},
    }
