"""The config of `train-stack`: what each key means, and what does not fit together."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from jobs.common.stream import CACHE_GB, DataMode
from jobs.common.training import Workers
from noisestack.config import JobConfig, Seed, describe
from pipeline.conditions import CONDITIONS, ConditionName
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.row_embeddings import RowEmbeddings
from pipeline.formats.splits import TRAIN
from pipeline.networks import NETWORKS, PICTURE_NETWORKS, PictureNetworkName
from pipeline.registry import explained
from pipeline.sampling import SamplerName
from pipeline.training.trainer import Recipe
from pipeline.training.weighting import WEIGHTINGS, WeightingName

# What decides neither the model's defaults nor the weights, but for the last bits of sums that are
# added in another order: a run may go on with other values.
_FREE = {
    "output", "overwrite", "num_workers", "cpus_per_worker", "use_gpu", "max_failures", "log_every",
    "checkpoint_every", "grid_rows", "data", "cache_gb", "accumulate", "compile", "channels_last",
    "stages_at_once",
}  # fmt: skip
# Keys that came later: without a value, a run that began before them goes on.
_LATER = {"embeddings", "cross_attention"}
_MOST_ATTENDED = 16  # pixels a side, where nothing is said


class TrainStackConfig(JobConfig):
    """Train a stack of conditional denoisers on a dataset that `noisestack ingest` made."""

    dataset: Path = Field(description="the dataset's directory")
    output: Path = Field(description="the run's directory; the model goes into OUTPUT/model")
    overwrite: bool = Field(False, description="replace another config's results in OUTPUT")
    network: PictureNetworkName = Field("nested", description=explained(PICTURE_NETWORKS))
    condition: ConditionName = Field(
        "label", description=f"what the pictures are drawn on: {explained(CONDITIONS)}"
    )
    embeddings: Path | None = Field(
        None, description="for text and embedding: the dataset's embedding set, made by embed"
    )
    cross_attention: tuple[int, ...] | None = Field(
        None,
        description="for text: heights of the stages at whose resolution pixels attend to the "
        f"words; none for those up to {_MOST_ATTENDED} pixels",
    )
    stages: tuple[int, ...] = Field(
        (14, 28),
        description="heights of the stages in pixels, coarsest first; each twice the one before",
    )
    widths: tuple[int, ...] = Field(
        (64, 32), description="feature channels at each stage's resolution, multiples of 8"
    )
    blocks: tuple[int, ...] = Field(
        (2, 2), description="residual blocks on either side at each stage's resolution"
    )
    embedding: int = Field(128, ge=8, description="width of the vector of noise level and class")
    dropout: float = Field(0.05, ge=0, lt=1, description="share of features dropped in training")
    sigma_max: float = Field(
        # Above 1e4 float32 keeps fewer than 10 bits of the picture beside the noise.
        100.0,
        gt=0,
        le=1e4,
        description="the noise level of z_0, in units of a picture from -1 to 1",
    )
    sigma_min: float = Field(
        0.01, gt=0, le=1, description="the lowest noise level above 0, in the same units"
    )
    switch: float = Field(
        0.07,
        gt=0,
        le=1,
        description="the resolution rises where the details' power is this part of the noise's",
    )
    weighting: WeightingName = Field(
        "edm",
        description="how much each noise level counts; by elbo the losses add up to what the "
        "bound's layers tend to as these grow many",
    )
    steps: int = Field(
        10_000,
        ge=1,
        description="optimiser steps; raised, the same command goes on from a finished run",
    )
    batch_size: int = Field(128, ge=1, description="pictures a step, over all workers")
    stage_share: tuple[float, ...] | None = Field(
        None, description="part of a batch that each stage trains on, 0 to 1; none for all of it"
    )
    learning_rate: float = Field(1e-3, gt=0, le=100, description="Adam's learning rate at its peak")
    warmup_steps: int = Field(100, ge=1, description="steps in which the learning rate rises")
    ema_halflife: float = Field(
        20_000, gt=0, description="half-life of the weights' moving average, in pictures"
    )
    drop_condition: float = Field(
        0.1, ge=0, le=1, description="probability with which a condition is dropped"
    )
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    seed: Seed = Field(0, description="keys the weights' start, the order and the noise")
    layers: tuple[int, ...] | None = Field(
        None, description="layers in each stage when sampling; none for 8 each"
    )
    sampler: SamplerName = Field("heun", description="the model's default sampler")
    guidance: float = Field(
        1.0, ge=0, le=100, description="the model's default guidance weight; 1 is none"
    )
    rows_per_call: int = Field(
        64, ge=1, description="rows in each call of the network when sampling, always as many"
    )
    checkpoint_every: int = Field(500, ge=1, description="steps between checkpoints")
    log_every: int = Field(50, ge=1, description="steps between lines of progress")
    grid_rows: int = Field(4, ge=0, description="samples of each class in a checkpoint's grid")
    data: DataMode = Field(
        "auto",
        description="resident: each worker keeps all pictures in memory; streaming: it reads them "
        "as it goes; auto: resident up to 1 GiB. Both train on the same batches",
    )
    cache_gb: float = Field(
        CACHE_GB,
        ge=0,
        description="GiB of unpacked pictures that streaming keeps on the disk beside each worker, "
        "so that later epochs need not unpack them; 0 for none",
    )
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="what the network computes in; weights stay in float32"
    )
    accumulate: int = Field(
        1, ge=1, description="parts in which a worker takes its share of a batch, to save memory"
    )
    compile: bool = Field(False, description="make the network's code with torch.compile")
    channels_last: bool = Field(
        False, description="lay pictures out with their channels together, as tensor cores like it"
    )
    num_workers: tuple[int, ...] = Field(
        (1,),
        description="training processes, of each stage where it has a network; two numbers are the "
        "fewest and the most, as nodes come and go; 0 trains in this process",
    )
    cpus_per_worker: int = Field(1, ge=1, description="CPUs a worker, and so its torch threads")
    use_gpu: bool = Field(False, description="give each worker a GPU")
    stages_at_once: int | None = Field(
        None,
        ge=1,
        description="where each stage has a network: how many train at a time; none for as many "
        "as fit",
    )
    max_failures: int = Field(3, ge=0, description="how often lost workers are replaced")

    @field_validator("num_workers", mode="before")
    @classmethod
    def _as_range(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _lengths_agree(self) -> "TrainStackConfig":
        for key in ("widths", "blocks", "stage_share", "layers"):
            value = getattr(self, key)
            if value is not None and len(value) != len(self.stages):
                raise ValueError(f"{key} has {len(value)} numbers, stages has {len(self.stages)}")
        if any(width % 8 for width in self.widths):
            raise ValueError("widths must be multiples of 8")
        if self.stage_share is not None and not all(0 < s <= 1 for s in self.stage_share):
            raise ValueError("each stage_share lies above 0 and is at most 1")
        few, many = self.num_workers[0], self.num_workers[-1]
        if len(self.num_workers) not in (1, 2) or few < 0 or few > many or (few == 0 and many > 0):
            raise ValueError("num_workers is 0 or more, or two numbers from 1 on, the lower first")
        if max(1, many) * self.accumulate > self.batch_size:
            raise ValueError(
                "batch_size is less than num_workers times accumulate: some would get no picture"
            )
        if self.stages_at_once is not None and NETWORKS[self.network].shared:
            raise ValueError(
                "stages_at_once is for networks that serve one stage each; "
                f"{self.network} trains as a whole"
            )
        return self

    @model_validator(mode="after")
    def _embeddings_fit_the_condition(self) -> "TrainStackConfig":
        rule = CONDITIONS[self.condition].kind
        if rule.embedded and self.embeddings is None:
            raise ValueError(
                f"condition {self.condition} needs embeddings: make a set with `noisestack embed` "
                "and give it with --embeddings"
            )
        if self.embeddings is not None and not rule.embedded:
            raise ValueError(
                f"embeddings is for pictures that are drawn on them, not on condition "
                f"{self.condition}; choose --condition text or embedding"
            )
        if self.cross_attention is not None and not rule.has_tokens:
            raise ValueError(
                f"cross_attention is for condition text: {self.condition} has no words to attend to"
            )
        strangers = {*(self.cross_attention or ())} - {*self.stages}
        if strangers:
            raise ValueError(
                f"cross_attention names {min(strangers)} pixels, and stages are "
                f"{', '.join(map(str, self.stages))}"
            )
        return self

    def attends(self) -> tuple[int, ...]:
        """The indices of the stages whose pixels attend to words."""
        if not CONDITIONS[self.condition].kind.has_tokens:
            return ()
        chosen = self.cross_attention
        if chosen is None:
            chosen = tuple(side for side in self.stages if side <= _MOST_ATTENDED)
        return tuple(index for index, side in enumerate(self.stages) if side in chosen)

    def open_embeddings(self, info: DatasetInfo) -> RowEmbeddings | None:
        """The embeddings of the dataset's train split; None for a condition without.

        Raises:
            UserError: the set is none, or another dataset's.
        """
        if self.embeddings is None:
            return None
        pooled_only = not CONDITIONS[self.condition].kind.has_tokens
        return RowEmbeddings.open(self.embeddings, info, TRAIN, pooled_only=pooled_only)

    def recipe(self) -> Recipe:
        """The training recipe that these values spell."""
        return Recipe(
            num_steps=self.steps,
            batch_size=self.batch_size,
            stage_share=self.stage_share or (1.0,) * len(self.stages),
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            ema_halflife=self.ema_halflife,
            drop_condition=self.drop_condition,
            gradient_clip=self.gradient_clip,
            weighting=WEIGHTINGS[self.weighting],
            seed=self.seed,
            parts=self.accumulate,
            bf16=self.precision == "bf16",
        )

    def workers(self) -> Workers:
        """Where each run trains."""
        few, many = self.num_workers[0], self.num_workers[-1]
        return Workers(
            few if few == many else (few, many),
            self.use_gpu,
            self.cpus_per_worker,
            self.max_failures,
        )

    def fingerprint(self) -> dict[str, Any]:
        """What decides the results, beside the dataset."""
        held = {k: v for k, v in describe(self).items() if k not in _FREE}
        return {k: v for k, v in held.items() if v is not None or k not in _LATER}
