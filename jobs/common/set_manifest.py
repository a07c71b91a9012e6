"""What the manifests of `perturb` and `certify` have in common."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import ray
import torch

from jobs.common.records import Record
from noisestack import __version__
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo


def dataset_of(info: DatasetInfo, split: str, stop: int) -> dict[str, Any]:
    """The rows of a dataset that a set covers, from the first."""
    return {
        "sha256": info.sha256,
        "shape": list(info.shape),
        "split": split,
        "start": 0,
        "stop": stop,
    }


def check_counts(
    counts: Mapping[str, int], info: DatasetInfo, split: str, *, made: str, lost: str
) -> None:
    """That rows were read, and each was made or set aside.

    Args:
        counts: read, rows and quarantined.
        info, split: where they were read.
        made: what became of the good ones, a participle for messages.
        lost: what cannot be said without any.

    Raises:
        UserError: all rows were bad.
        RuntimeError: a row is missing.
    """
    read = counts["read"]
    if counts["rows"] + counts["quarantined"] != read:
        raise RuntimeError(
            f"{read} rows were read, {counts['rows']} {made} and {counts['quarantined']} set aside"
        )
    if not counts["rows"]:
        raise UserError(
            f"none of the {read} rows of {info.path}, split {split}, has a label among the "
            f"classes; {lost}"
        )


def files_of(records: Sequence[Record], *kept_out: str) -> dict[str, Any]:
    """The shards, and the files of the rows that were set aside.

    Args:
        records: of the shards.
        kept_out: keys of a record that a manifest says elsewhere.
    """
    return {
        "shards": [
            {key: value for key, value in record.items() if key not in ("quarantine", *kept_out)}
            for record in records
            if record["num_rows"]
        ],
        "quarantine": [entry for record in records for entry in record["quarantine"]],
    }


def versions() -> dict[str, str]:
    """Of what computed the rows."""
    return {
        "noisestack": __version__,
        "torch": torch.__version__,
        "ray": ray.__version__,
        "numpy": np.__version__,
        "pyarrow": version("pyarrow"),
        "python": platform.python_version(),
    }
