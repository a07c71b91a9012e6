"""The config of `generate`: what each key means."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from noisestack.config import JobConfig, Seed
from noisestack.flag_values import WHOLE
from noisestack.flags import flag_of
from noisestack.paths import path_or_name
from pipeline.sampling import SamplerName, SamplingOptions
from pipeline.sampling.inpainting import RESAMPLE
from pipeline.sampling.moments import MOST_STEPS
from pipeline.sampling.options import ALL_LEVELS
from pipeline.sampling.picture_vectors import POSITIONS, TURN
from pipeline.sampling.prior import BEST_OF
from pipeline.sampling.resampling import MOST_REPETITIONS
from pipeline.sampling.vectors import MOST_CANDIDATES
from pipeline.stack_spec import StackSpec

COUNT = 1000  # where nothing says how many
_MOST_SHARDS, _LEAST_ROWS, _MOST_ROWS = 4096, 256, 16_384
_MOST_SHARD_BYTES = 32 << 20  # of pictures; between stages travels four times as much
_Number = Annotated[int, Field(ge=0)]


class GenerateConfig(JobConfig):
    """Generate samples of classes, or of what sentences say, from a trained stack.

    Each sample is a function of (seed, sample index, label or prompt, sampling options) alone: on
    CPUs of one kind the same command gives the same bytes on any number of workers, in pools of
    either kind, and after any interruption.
    """

    model: Path = Field(description="the stack's directory, as train-stack leaves it")
    output: Path = Field(description="the sample set's directory")
    overwrite: bool = Field(False, description="replace another config's results in OUTPUT")
    count: int | None = Field(
        None,
        ge=1,
        description="how many samples; none for as many as the labels or prompts, or else "
        f"{COUNT:,}",
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
    prompts: Annotated[tuple[str, ...] | None, WHOLE] = Field(
        None,
        description="of a model that takes sentences: a sentence, or a file with one a line; given "
        "several times they come in turn; <none> (or -) for no condition",
    )
    prompts_from: Path | None = Field(
        None,
        description="a Parquet file, a folder of them, or a dataset: a prompt a row, and again "
        "from the first when they are used up",
    )
    prompts_column: str | None = Field(None, description="its column of prompts; none for caption")
    prompts_split: str | None = Field(
        None, description="which split, where it is a dataset; none for train"
    )
    text_encoder: str | None = Field(
        None,
        description="the text encoder that the model was trained with: a directory or a name; none "
        "for the name that the model has it by",
    )
    prior: Path | None = Field(
        None,
        description="of a model that is drawn on pictures' embeddings: the prior of train-prior, "
        "which makes them of prompts",
    )
    prior_candidates: int | None = Field(
        None,
        ge=1,
        le=MOST_CANDIDATES,
        description="embeddings that the prior draws for each sample, of which the nearest to the "
        f"prompt is kept; none for {BEST_OF}",
    )
    variation_of: Path | None = Field(
        None,
        description="of a model that is drawn on pictures' embeddings: a picture that all samples "
        "are variations of",
    )
    interpolate: tuple[Path, ...] | None = Field(
        None, description="two pictures: samples lie on the way from one embedding to the other"
    )
    towards: str | None = Field(
        None,
        description="a sentence: with --variation-of and --away-from, samples lie on the way from "
        "the picture along the difference of the two sentences",
    )
    away_from: str | None = Field(
        None, description="a sentence that says what is in the picture now"
    )
    turn: float | None = Field(
        None,
        gt=0,
        le=1,
        description=f"how far along the difference the last of these lies; none for {TURN}",
    )
    positions: int | None = Field(
        None,
        ge=2,
        description="places on such a way, both ends included, that samples have in turn; none "
        f"for {POSITIONS}",
    )
    picture_encoder: Path | None = Field(
        None,
        description="the picture encoder that the model was trained with; none for the path that "
        "the model has it by",
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
    moment_steps: int | None = Field(
        None,
        ge=0,
        le=MOST_STEPS,
        description="steps, each about as dear as a call of the network, by which every call is "
        "given the known pixels: 1 or 2, with --resample 1, are worth ten repetitions, and more "
        "do harm; none for 0",
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

    @field_validator("prompts", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("text_encoder")
    @classmethod
    def _path_or_name(cls, value: str | None) -> str | None:
        return None if value is None else path_or_name(value)

    @model_validator(mode="after")
    def _conditions_are_said_once(self) -> Self:
        prompts = ("prompts", "prompts_from", "variation_of", "interpolate")
        ways = ("labels", "per_class", "captions", "labels_from", *prompts)
        given = [key for key in ways if getattr(self, key) is not None]
        if len(given) > 1:
            what = "what is drawn" if {*given} & {*prompts} else "the labels"
            flags = " and ".join(map(flag_of, given))
            raise ValueError(f"{flags} each say {what}; give one of them")
        if self.per_class is not None and self.count is not None:
            raise ValueError("--per-class says how many samples there are; leave out --count")
        if self.labels_column is not None and self.captions_column is not None:
            raise ValueError("--labels-column and --captions-column: give one of them")
        for key, file in (
            *((key, "labels_from") for key in ("labels_column", "captions_column", "labels_split")),
            *((key, "prompts_from") for key in ("prompts_column", "prompts_split")),
        ):
            if getattr(self, key) is not None and getattr(self, file) is None:
                raise ValueError(f"{flag_of(key)} is about {flag_of(file)}; give that too")
        return self

    @model_validator(mode="after")
    def _a_prior_has_prompts(self) -> Self:
        if self.prior is not None and self.prompts is None and self.prompts_from is None:
            raise ValueError("--prior makes embeddings of prompts; give --prompts, too")
        if self.prior_candidates is not None and self.prior is None:
            raise ValueError("--prior-candidates is about --prior; give that too")
        return self

    @model_validator(mode="after")
    def _ways_have_their_ends(self) -> Self:
        if self.interpolate is not None and len(self.interpolate) != 2:
            raise ValueError(f"--interpolate takes two pictures, A,B, not {len(self.interpolate)}")
        if (self.towards is None) != (self.away_from is None):
            raise ValueError("--towards and --away-from are given together: a difference of both")
        if self.towards is not None and self.variation_of is None:
            raise ValueError("--towards starts at a picture; give it with --variation-of")
        if self.turn is not None and self.towards is None:
            raise ValueError("--turn is about --towards; give that too")
        if self.positions is not None and self.interpolate is None and self.towards is None:
            raise ValueError("--positions is about --interpolate or --towards; give one of them")
        if self.picture_encoder is not None and not (self.variation_of or self.interpolate):
            raise ValueError("--picture-encoder reads a picture; give --variation-of")
        return self

    @model_validator(mode="after")
    def _inpainting_is_whole(self) -> Self:
        for key in ("mask", "resample", "moment_steps"):
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


def shard_rows(count: int, spec: StackSpec) -> int:
    """Rows of a shard where nobody says: whole calls of the networks, near `_MOST_SHARDS` shards.

    A shard is what a lost worker has to make again, and what is held in memory: so it has 16,384
    rows and 32 MiB of pictures at most, and a billion samples make 61,036 shards.
    """
    most = min(_MOST_ROWS, _MOST_SHARD_BYTES // math.prod(spec.shape))
    wanted = min(max(math.ceil(count / _MOST_SHARDS), _LEAST_ROWS), most)
    calls = max(1, round(wanted / spec.rows_per_call))
    return calls * spec.rows_per_call
