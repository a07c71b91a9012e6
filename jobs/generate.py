"""Samples from a trained stack, in batch: sample indices through pools of actors into Parquet."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import ray
import torch
from pydantic import Field, model_validator

from jobs.common.pools import Pool
from jobs.common.records import remove_records
from jobs.common.row_ranges import RowRanges
from jobs.common.sharded import run_shards
from noisestack.command import Command
from noisestack.config import JobConfig
from noisestack.flags import flag_of
from noisestack.resources import Demand, Waiting, require
from noisestack.session import ray_session
from pipeline.formats.claim import claim_output
from pipeline.formats.sample_set import MANIFEST_FILE, write_manifest
from pipeline.formats.shard import shards_from_json
from pipeline.plots.sample_set import draw_sample_set
from pipeline.sampling import SamplerName, SamplingOptions
from pipeline.sampling.cost import fits, share_out, stage_costs
from pipeline.sampling.label_column import Column, open_column
from pipeline.sampling.labels import (
    LabelPlan,
    all_in_turn,
    captions_in_turn,
    labels_in_turn,
    per_class,
    refuse_untrained,
)
from pipeline.sampling.options import ALL_LEVELS
from pipeline.sampling.workers import SampleJob, StackWorker, StageWorker
from pipeline.stack import Stack
from pipeline.stack_spec import StackSpec

_COUNT = 1000  # where nothing says how many
_MOST_SHARDS, _LEAST_ROWS, _MOST_ROWS = 4096, 256, 16_384
_MOST_SHARD_BYTES = 32 << 20  # of pictures; between stages travels four times as much
_Number = Annotated[int, Field(ge=0)]


class GenerateConfig(JobConfig):
    """Generate labelled samples from a trained stack.

    Each sample is a function of (seed, sample index, label, sampling options) alone: on CPUs of one
    kind the same command gives the same bytes on any number of workers, in pools of either kind,
    and after any interruption.
    """

    model: Path = Field(description="the stack's directory, as train-stack leaves it")
    output: Path = Field(description="the sample set's directory")
    overwrite: bool = Field(False, description="replace another config's results in OUTPUT")
    count: int | None = Field(
        None,
        ge=1,
        description=f"how many samples; none for as many as the labels say, or else {_COUNT:,}",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="keys every draw of noise")
    labels: tuple[str, ...] | None = Field(
        None,
        description="class names, or their numbers, given to the samples in turn; none for all "
        "classes; <none> (or -) for no condition; a name with a comma stands in double quotes",
    )
    per_class: _Number | dict[str, _Number] | None = Field(
        None,
        description="samples of each class: one number for all classes, or CLASS=NUMBER,…, a name "
        "with a comma in double quotes (in YAML a mapping)",
    )
    captions: tuple[str, ...] | None = Field(
        None,
        description="texts that are class names, given in turn and kept as the set's captions",
    )
    labels_from: Path | None = Field(
        None,
        description="a Parquet file, a folder of them, or a dataset: a row a sample, and again "
        "from the first when they are used up",
    )
    labels_column: str | None = Field(
        None, description="its column of class names or numbers; none for label"
    )
    captions_column: str | None = Field(
        None, description="instead, its column of texts that are class names, kept as captions"
    )
    labels_split: str | None = Field(
        None, description="which split, where it is a dataset; none for train"
    )
    sampler: SamplerName | None = Field(
        None, description="how to climb the stack; none for the model's own"
    )
    layers: tuple[int, ...] | None = Field(
        None, description="layers in each stage, coarsest first; none for the model's own"
    )
    guidance: float | None = Field(
        None, ge=0, le=100, description="guidance weight, 1 is none of it; none for the model's own"
    )
    guidance_low: float = Field(
        0.0, ge=0, le=ALL_LEVELS, description="guidance acts above this noise level"
    )
    guidance_high: float = Field(
        ALL_LEVELS, gt=0, le=ALL_LEVELS, description="guidance acts up to this noise level"
    )
    threshold: float | None = Field(
        None, gt=0, le=1, description="percentile of dynamic thresholding; none for none"
    )
    rows_per_shard: int | None = Field(
        None,
        ge=1,
        description=f"samples in each Parquet file; none for {_LEAST_ROWS} to {_MOST_ROWS:,}, near "
        f"{_MOST_SHARDS:,} files",
    )
    pools: Literal["auto", "whole", "stages"] = Field(
        "auto",
        description="whole: each actor holds the whole stack; stages: each stage of the stack has "
        "actors of its own, by its share of the cost; auto: whole where a device holds the weights",
    )
    num_workers: int | None = Field(
        None, ge=1, description="actors at most; none for as many as the cluster holds"
    )
    cpus_per_worker: int = Field(1, ge=1, description="CPUs an actor, and so its torch threads")
    gpus_per_worker: float = Field(0, ge=0, description="GPUs an actor; fractions share one")

    @model_validator(mode="after")
    def _labels_are_said_once(self) -> Self:
        ways = ("labels", "per_class", "captions", "labels_from")
        given = [flag_of(key) for key in ways if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} each say the labels; give one of them")
        if self.per_class is not None and self.count is not None:
            raise ValueError("--per-class says how many samples there are; leave out --count")
        if self.labels_column is not None and self.captions_column is not None:
            raise ValueError("--labels-column and --captions-column: give one of them")
        for key in ("labels_column", "captions_column", "labels_split"):
            if getattr(self, key) is not None and self.labels_from is None:
                raise ValueError(f"{flag_of(key)} is about --labels-from; give that too")
        return self

    def options(self) -> SamplingOptions:
        """The sampling options that these values spell."""
        return SamplingOptions(
            self.sampler,
            self.layers,
            self.guidance,
            (self.guidance_low, self.guidance_high),
            self.threshold,
        )


def main(config: GenerateConfig) -> Path:
    """Makes, or finishes, the sample set in ``config.output``; returns its directory."""
    stack = Stack.load(config.model)
    spec = stack.spec
    options = config.options().resolve(spec)
    labels = label_plan(config, spec.classes, spec.untrained)
    count = config.count or labels.num_rows or _COUNT
    rows_per_shard = config.rows_per_shard or shard_rows(count, spec)
    origin = {
        "job": "generate",
        "model_sha256": stack.sha256,
        "seed": config.seed,
        "count": count,
        "labels": labels.origin(),
        "options": asdict(options),
        "rows_per_shard": rows_per_shard,
    }
    with claim_output(
        config.output, origin, overwrite=config.overwrite, marker=MANIFEST_FILE
    ) as output:
        if output.finished:
            print(f"{output.path} is there already, made by this config")
            return output.path
        job = SampleJob(
            config.model,
            output.directory,
            config.seed,
            labels,
            options,
            device="cuda" if config.gpus_per_worker else "cpu",
            threads=config.cpus_per_worker,
        )
        with ray_session():
            records = run_shards(
                make_pools(config, spec, job),
                RowRanges(count, rows_per_shard),
                output.directory,
                describe="generate",
                unit="samples",
            )
        written = shards_from_json(records, output.directory)
        draw_sample_set(output.directory, written, spec.classes)
        write_manifest(
            output.directory,
            shape=spec.shape,
            classes=spec.classes,
            shards=written,
            origin=origin,
        )
        remove_records(output.directory)
    print(f"{count:,} samples are in {output.path}")
    return output.path


def label_plan(
    config: GenerateConfig, classes: tuple[str, ...], untrained: tuple[int, ...] = ()
) -> LabelPlan:
    """What the samples are drawn on; every label that is named is one of the model's.

    Raises:
        UserError: a name, a caption or a row that is no class or an untrained one, or a column
            that cannot be read.
    """
    if config.labels is not None:
        in_turn = labels_in_turn(config.labels, classes, "--labels")
        refuse_untrained(np.array(in_turn.labels), classes, untrained, "--labels")
        return in_turn
    if config.captions is not None:
        in_turn = captions_in_turn(config.captions, classes, "--captions")
        refuse_untrained(np.array(in_turn.labels), classes, untrained, "--captions")
        return in_turn
    if config.per_class is not None:
        counted = per_class(config.per_class, classes, "--per-class", untrained)
        refuse_untrained(np.array(list(counted.counts)), classes, untrained, "--per-class")
        return counted
    if config.labels_from is not None:
        plan: Column = open_column(
            config.labels_from,
            config.captions_column or config.labels_column or "label",
            classes,
            split=config.labels_split,
            captions=config.captions_column is not None,
        )
        plan.check(untrained)
        return plan
    return all_in_turn(classes, untrained)


def shard_rows(count: int, spec: StackSpec) -> int:
    """Rows of a shard where nobody says: whole calls of the networks, near `_MOST_SHARDS` shards.

    A shard is what a lost worker has to make again, and what is held in memory: so it has 16,384
    rows and 32 MiB of pictures at most, and a billion samples make 61,036 shards.
    """
    most = min(_MOST_ROWS, _MOST_SHARD_BYTES // math.prod(spec.shape))
    wanted = min(max(math.ceil(count / _MOST_SHARDS), _LEAST_ROWS), most)
    calls = max(1, round(wanted / spec.rows_per_call))
    return calls * spec.rows_per_call


def make_pools(config: GenerateConfig, spec: StackSpec, job: SampleJob) -> list[Pool]:
    """The whole stack in each actor, or a pool of actors for each stage of it."""
    cpus, gpus = config.cpus_per_worker, config.gpus_per_worker
    whole = config.pools == "whole" or len(spec.stages) == 1
    if whole or (config.pools == "auto" and _held_by_a_device(spec, gpus)):
        return [Pool(StackWorker, {"job": job}, config.num_workers, cpus, gpus)]
    costs = stage_costs(spec, job.options)
    shares = share_out(config.num_workers, costs) if config.num_workers else [None] * len(costs)
    return [
        Pool(StageWorker, {"job": job, "stage": stage}, share, cpus, gpus, cost)
        for stage, (share, cost) in enumerate(zip(shares, costs, strict=True))
    ]


def _held_by_a_device(spec: StackSpec, gpus: float) -> bool:
    """Whether an actor's part of a device holds the whole stack; the memory of a CPU does."""
    if not gpus:
        return True
    require(demand := Demand(1, 0, gpus))
    with Waiting("generate", [demand]):
        memory = ray.get(_device_memory.options(num_gpus=gpus).remote())
    return fits(spec, memory * min(1.0, gpus))


@ray.remote(num_cpus=0)
def _device_memory() -> int:
    """The bytes of a GPU that the cluster gives to actors."""
    return int(torch.cuda.get_device_properties(0).total_memory)


COMMAND = Command(GenerateConfig, main)
if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
