"""Samples from a trained stack, in batch: sample indices through a pool of actors into Parquet."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from jobs.common.pools import Pool
from jobs.common.records import remove_records
from jobs.common.row_ranges import RowRanges
from jobs.common.sharded import run_shards
from noisestack.command import Command
from noisestack.config import JobConfig
from noisestack.session import ray_session
from pipeline.errors import UserError
from pipeline.formats.output import atomic_path, claim_output
from pipeline.formats.sample_set import (
    MANIFEST_FILE,
    sample_table,
    write_manifest,
)
from pipeline.formats.shard import (
    Shard,
    images_of,
    iterate,
    labels_of,
    shards_from_json,
    write_shard,
)
from pipeline.plots.class_sheet import class_sheet
from pipeline.sampling import SamplingOptions, sample
from pipeline.stack import Stack

_GRID_PER_CLASS = 10


class GenerateConfig(JobConfig):
    """Generate labelled samples from a trained stack.

    Each sample is a function of (seed, sample index, label, sampling options) alone: the same
    command gives the same bytes on any number of workers, and after any interruption.
    """

    model: Path = Field(description="the stack's directory, as train-stack leaves it")
    output: Path = Field(description="the sample set's directory")
    overwrite: bool = Field(False, description="replace another config's results in OUTPUT")
    count: int = Field(1000, ge=1, description="how many samples")
    seed: int = Field(0, ge=0, lt=2**63, description="keys every draw of noise")
    labels: tuple[str, ...] | None = Field(
        None,
        description="class names, given to the samples in turn; none for all classes; "
        "'-' for no condition",
    )
    sampler: Literal["ancestral", "ddim", "heun", "dpmpp_2m"] | None = Field(
        None, description="how to climb the stack; none for the model's own"
    )
    layers: tuple[int, ...] | None = Field(
        None, description="layers in each stage, coarsest first; none for the model's own"
    )
    guidance: float | None = Field(
        None, ge=0, le=100, description="guidance weight, 1 is none of it; none for the model's own"
    )
    guidance_low: float = Field(0.0, ge=0, description="guidance acts above this noise level")
    guidance_high: float = Field(1e6, gt=0, description="guidance acts up to this noise level")
    threshold: float | None = Field(
        None, gt=0, le=1, description="percentile of dynamic thresholding; none for none"
    )
    rows_per_shard: int = Field(256, ge=1, description="samples in each Parquet file")
    num_workers: int | None = Field(
        None, ge=1, description="actors at most; none for as many as the cluster holds"
    )
    cpus_per_worker: int = Field(1, ge=1, description="CPUs an actor, and so its torch threads")
    gpus_per_worker: float = Field(0, ge=0, description="GPUs an actor; fractions share one")

    def options(self) -> SamplingOptions:
        """The sampling options that these values spell."""
        return SamplingOptions(
            self.sampler,
            self.layers,
            self.guidance,
            (self.guidance_low, self.guidance_high),
            self.threshold,
        )


class SampleWorker:
    """One actor: holds the stack and makes one shard a call."""

    def __init__(
        self,
        model: Path,
        output: Path,
        seed: int,
        cycle: tuple[int, ...],
        options: SamplingOptions,
        device: str,
    ) -> None:
        self._stack = Stack.load(model, device)
        self._output, self._seed, self._options = output, seed, options
        self._cycle = np.array(cycle, dtype=np.int64)

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        indices = np.arange(shard["start"], shard["stop"])
        labels = self._cycle[indices % len(self._cycle)]
        seeds = np.full(len(indices), self._seed)
        images = sample(self._stack, seeds, indices, labels, self._options)
        table = sample_table(self._seed, indices, labels, images)
        return asdict(write_shard(table, self._output, shard["file"]))


def main(config: GenerateConfig) -> Path:
    """Makes, or finishes, the sample set in ``config.output``; returns its directory."""
    stack = Stack.load(config.model)
    options = config.options().resolve(stack.spec)
    cycle = _labels(config.labels, stack.classes)
    origin = {
        "job": "generate",
        "model_sha256": stack.sha256,
        "seed": config.seed,
        "count": config.count,
        "labels": list(cycle),
        "options": asdict(options),
        "rows_per_shard": config.rows_per_shard,
    }
    with claim_output(
        config.output, origin, overwrite=config.overwrite, marker=MANIFEST_FILE
    ) as output:
        if output.finished:
            print(f"{output.path} is there already, made by this config")
            return output.path
        with ray_session():
            records = run_shards(
                Pool(
                    SampleWorker,
                    {
                        "model": config.model,
                        "output": output.directory,
                        "seed": config.seed,
                        "cycle": cycle,
                        "options": options,
                        "device": "cuda" if config.gpus_per_worker else "cpu",
                    },
                    num_workers=config.num_workers,
                    cpus_per_worker=config.cpus_per_worker,
                    gpus_per_worker=config.gpus_per_worker,
                ),
                RowRanges(config.count, config.rows_per_shard),
                output.directory,
                describe="samples",
            )
        written = shards_from_json(records, output.directory)
        _draw(output.directory, written, stack.classes)
        write_manifest(
            output.directory,
            shape=stack.shape,
            classes=stack.classes,
            shards=written,
            origin=origin,
        )
        remove_records(output.directory)
    print(f"{config.count:,} samples are in {output.path}")
    return output.path


def _labels(names: tuple[str, ...] | None, classes: tuple[str, ...]) -> tuple[int, ...]:
    """The labels to give in turn: of the names, of all classes, or -1 without classes."""
    if names is None:
        return tuple(range(len(classes))) or (-1,)
    known = {name: label for label, name in enumerate(classes)} | {"-": -1}
    for name in names:
        if name not in known:
            raise UserError(
                f"--labels: the model has no class {name!r}, only {', '.join(classes) or 'none'}"
            )
    if not names:
        raise UserError("--labels is empty; name classes, or leave it out for all of them")
    return tuple(known[name] for name in names)


def _draw(directory: Path, shards: tuple[Shard, ...], classes: tuple[str, ...]) -> None:
    """``grid.png``: the first samples of each class."""
    wanted = _GRID_PER_CLASS * max(1, len(classes))
    images, labels, rows = [], [], 0
    for table in iterate(directory, shards):
        images.append(images_of(table))
        labels.append(labels_of(table))
        rows += table.num_rows
        if rows >= wanted * 2:
            break
    sheet = class_sheet(
        np.concatenate(images), np.concatenate(labels), classes, per_class=_GRID_PER_CLASS
    )
    with atomic_path(directory / "grid.png") as temporary:
        sheet.save(temporary, format="png")


COMMAND = Command(GenerateConfig, main)
if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
