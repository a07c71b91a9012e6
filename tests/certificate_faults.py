"""A small certificate set made without Ray, and what its config says."""

from pathlib import Path
from typing import Any

from jobs.certify.config import CertifyConfig
from jobs.certify.manifest import manifest_of
from jobs.certify.task import Task
from jobs.common.row_ranges import RowRanges
from pipeline.certification.certifier import Certifier
from pipeline.formats.certificate.set import write_certificate_manifest


def certify_config(inputs: Path, output: Path, **change: Any) -> CertifyConfig:
    """Of the digits and the classifier that `perturbation_faults.write_inputs` wrote."""
    values = {
        "dataset": inputs / "digits", "classifier": str(inputs / "classifier"), "output": output,
        "sigma": 0.25, "n0": 20, "n": 100, "rows_per_shard": 25, "seed": 3, **change,
    }  # fmt: skip
    return CertifyConfig(**values)


def make_certificates(task: Task, output: Path) -> list[dict[str, Any]]:
    """The records of a task's shards, made in this process."""
    worker = Certifier(**task.pool(output).worker_args)
    shards = RowRanges(task.stop, task.config.shard_rows)
    return [{**worker(shard), "index": shard["index"]} for shard in shards]


def write_certificates(inputs: Path, output: Path, **change: Any) -> dict[str, Any]:
    """A finished certificate set of the 60 test digits; returns its manifest."""
    task = Task.read(certify_config(inputs, output, **change))
    manifest = manifest_of(task, make_certificates(task, output), task.look())
    write_certificate_manifest(output, manifest)
    return manifest
