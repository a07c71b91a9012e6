"""The config of `train-prior`: what each key means, and what does not fit together."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from jobs.common.training import Workers
from noisestack.config import JobConfig, Seed, describe
from pipeline.conditions import EMBEDDED_CONDITIONS, EmbeddedConditionName
from pipeline.networks import VECTOR_NETWORKS, VectorNetworkName
from pipeline.registry import explained
from pipeline.sampling import SamplerName
from pipeline.training.trainer import Recipe
from pipeline.training.weighting import WEIGHTINGS, WeightingName

# What decides neither the model's defaults nor the weights, but for the last bits of sums.
_FREE = {
    "output", "overwrite", "num_workers", "cpus_per_worker", "use_gpu", "max_failures", "log_every",
    "checkpoint_every", "accumulate",
}  # fmt: skip


class TrainPriorConfig(JobConfig):
    """Train a prior: the chain on vectors, from a text's embedding to a picture's.

    It learns from pairs: the embedding set of a dataset's captions, and that of its pictures.
    """

    dataset: Path = Field(description="the directory of the dataset that both sets are of")
    embeddings: Path = Field(description="the embedding set of its captions, made by embed")
    targets: Path = Field(description="the embedding set of its pictures, made by embed")
    output: Path = Field(description="the run's directory; the model goes into OUTPUT/model")
    overwrite: bool = Field(False, description="replace another config's results in OUTPUT")
    network: VectorNetworkName = Field("vector", description=explained(VECTOR_NETWORKS))
    condition: EmbeddedConditionName = Field(
        "text", description=f"what the vectors are drawn on: {explained(EMBEDDED_CONDITIONS)}"
    )
    width: int = Field(
        512, ge=8, description="features of the network, a multiple of 8; the vectors' own or more"
    )
    blocks: int = Field(4, ge=1, description="residual blocks, one after the other")
    embedding: int = Field(
        128, ge=8, description="width of the vector of noise level and text, a multiple of 8"
    )
    dropout: float = Field(0.05, ge=0, lt=1, description="share of features dropped in training")
    sigma_max: float = Field(
        # Vectors of length 1 that all lean one way have √D root mean squares along it, 20 of 384.
        100.0,
        gt=1,
        le=1e4,
        description="the noise level of z_0, in root mean squares of the vectors",
    )
    sigma_min: float = Field(
        0.01, gt=0, le=0.5, description="the lowest noise level above 0, in the same units"
    )
    weighting: WeightingName = Field("edm", description="how much each noise level counts")
    steps: int = Field(
        5_000,
        ge=1,
        description="optimiser steps; raised, the same command goes on from a finished run",
    )
    batch_size: int = Field(256, ge=1, description="pairs a step, over all workers")
    learning_rate: float = Field(1e-3, gt=0, le=100, description="Adam's learning rate at its peak")
    warmup_steps: int = Field(100, ge=1, description="steps in which the learning rate rises")
    ema_halflife: float = Field(
        20_000, gt=0, description="half-life of the weights' moving average, in pairs"
    )
    drop_condition: float = Field(
        0.1, ge=0, le=1, description="probability with which a text is dropped"
    )
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    seed: Seed = Field(0, description="keys the weights' start, the order and the noise")
    # Of an exact denoiser's 24 dimensions of variance 1/i, 12, 24 and 32 layers of dpmpp_2m draw
    # 20, 4.5 and 2.4 % too much; heun's 24, twice the calls, 4.2 %.
    layers: int = Field(32, ge=2, le=4096, description="layers of the chain when sampling")
    sampler: SamplerName = Field("dpmpp_2m", description="the model's default sampler")
    guidance: float = Field(
        1.0, ge=0, le=100, description="the model's default guidance weight; 1 is none"
    )
    rows_per_call: int = Field(
        64, ge=1, description="rows in each call of the network when sampling, always as many"
    )
    checkpoint_every: int = Field(500, ge=1, description="steps between checkpoints")
    log_every: int = Field(50, ge=1, description="steps between lines of progress")
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="what the network computes in; weights stay in float32"
    )
    accumulate: int = Field(
        1, ge=1, description="parts in which a worker takes its share of a batch, to save memory"
    )
    num_workers: int = Field(1, ge=0, description="training processes; 0 trains in this process")
    cpus_per_worker: int = Field(1, ge=1, description="CPUs a worker, and so its torch threads")
    use_gpu: bool = Field(False, description="give each worker a GPU")
    max_failures: int = Field(3, ge=0, description="how often lost workers are replaced")

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainPriorConfig":
        for key in ("width", "embedding"):
            if getattr(self, key) % 8:
                raise ValueError(f"{key} must be a multiple of 8")
        if max(1, self.num_workers) * self.accumulate > self.batch_size:
            raise ValueError(
                "batch_size is less than num_workers times accumulate: some would get no pair"
            )
        return self

    def recipe(self) -> Recipe:
        """The training recipe that these values spell."""
        return Recipe(
            num_steps=self.steps,
            batch_size=self.batch_size,
            stage_share=(1.0,),
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
        """Where it trains."""
        return Workers(self.num_workers, self.use_gpu, self.cpus_per_worker, self.max_failures)

    def fingerprint(self) -> dict[str, Any]:
        """What decides the results, beside the dataset and the embeddings."""
        return {k: v for k, v in describe(self).items() if k not in _FREE}
