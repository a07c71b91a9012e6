"""The config of `generate`: what each key means, and the labels that it spells."""

import math
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from noisestack.config import JobConfig, Seed
from noisestack.flags import flag_of
from pipeline.sampling import SamplerName, SamplingOptions
from pipeline.sampling.inpainting import RESAMPLE
from pipeline.sampling.label_column import Column, open_column
from pipeline.sampling.labels import (
    all_in_turn,
    captions_in_turn,
    labels_in_turn,
    per_class,
    refuse_untrained,
)
from pipeline.sampling.options import ALL_LEVELS
from pipeline.sampling.plan import ConditionPlan
from pipeline.sampling.resampling import MOST_REPETITIONS
from pipeline.stack_spec import StackSpec

COUNT = 1000  # where nothing says how many
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
        description=f"how many samples; none for as many as the labels say, or else {COUNT:,}",
    )
    seed: Seed = Field(0, description="keys every draw of noise")
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
    sampler: SamplerName | None = Field(None, description="the sampler; none for the model's own")
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
    guidance_rescale: float = Field(
        0.0,
        ge=0,
        le=1,
        description="how much of the way a guided picture is scaled to the spread of the unguided; "
        "0 is none",
    )
    threshold: float | None = Field(
        None, gt=0, le=1, description="percentile of dynamic thresholding; none for none"
    )
    inpaint: Path | None = Field(
        None,
        description="a picture, PNG or another that Pillow reads, to draw around: its transparent "
        "pixels are drawn, all others stay as they are in every sample",
    )
    mask: Path | None = Field(
        None, description="whose transparent pixels are drawn instead; none for the picture's own"
    )
    resample: int | None = Field(
        None,
        ge=1,
        le=MOST_REPETITIONS,
        description="how often each layer is drawn around a picture: what is drawn fits it the "
        f"better, and costs as many times more; none for {RESAMPLE}",
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
        flags = [flag_of(key) for key in ways if getattr(self, key) is not None]
        if len(flags) > 1:
            raise ValueError(f"{' and '.join(flags)} each say the labels; give one of them")
        if self.per_class is not None and self.count is not None:
            raise ValueError("--per-class says how many samples there are; leave out --count")
        if self.labels_column is not None and self.captions_column is not None:
            raise ValueError("--labels-column and --captions-column: give one of them")
        for key in ("labels_column", "captions_column", "labels_split"):
            if getattr(self, key) is not None and self.labels_from is None:
                raise ValueError(f"{flag_of(key)} is about --labels-from; give that too")
        return self

    @model_validator(mode="after")
    def _inpainting_is_whole(self) -> Self:
        for key in ("mask", "resample"):
            if getattr(self, key) is not None and self.inpaint is None:
                raise ValueError(f"{flag_of(key)} is about --inpaint; give that too")
        if self.inpaint is not None and self.pools == "stages":
            raise ValueError(
                "--inpaint goes back across the stages, so that an actor needs them all; leave out "
                "--pools stages"
            )
        return self

    def options(self) -> SamplingOptions:
        """The sampling options that these values spell."""
        return SamplingOptions(
            self.sampler,
            self.layers,
            self.guidance,
            (self.guidance_low, self.guidance_high),
            self.threshold,
            self.guidance_rescale,
        )


def label_plan(
    config: GenerateConfig, classes: tuple[str, ...], untrained: tuple[int, ...] = ()
) -> ConditionPlan:
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
