"""The config of `train-picture-encoder`: what each key means."""

from pathlib import Path
from typing import Any

from pydantic import Field

from jobs.common.training import Workers
from noisestack.config import JobConfig, Seed, describe
from pipeline.training.averaging import Averaging
from pipeline.training.fit import FitRecipe

# What decides where and how it runs, and not what comes out; the sets count by their content.
_CIRCUMSTANCES = {
    "dataset", "embeddings", "split", "output", "overwrite", "num_workers", "use_gpu",
    "cpus_per_worker", "max_failures", "log_every", "checkpoint_every",
}  # fmt: skip


class TrainPictureEncoderConfig(JobConfig):
    """Train a small network that maps pictures to where a text encoder maps their captions.

    The text encoder stays as it is; its embeddings of the captions are an embedding set, made by
    `embed`. OUTPUT/model is the picture encoder, OUTPUT/losses.png its losses. The same command
    goes on where an interrupted one stopped.
    """

    dataset: Path = Field(description="directory of the dataset, as `ingest` writes it")
    embeddings: Path = Field(
        description="directory of the embedding set of its captions, as `embed` writes it"
    )
    output: Path = Field(description="directory of the run; the encoder is OUTPUT/model")
    split: str | None = Field(
        None, description="split that it is measured on; none for test, else validation"
    )
    steps: int = Field(
        1000,
        ge=1,
        description="optimiser steps; raised, the same command goes on from a finished run",
    )
    batch_size: int = Field(
        256, ge=2, description="pictures a step, over all workers; each sees the others' captions"
    )
    learning_rate: float = Field(3e-3, gt=0, le=100, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.1, ge=0, le=100, description="decoupled weight decay")
    ema_halflife: float = Field(
        0.0, ge=0, description="half-life of the published weights' average, in pictures; 0: none"
    )
    max_shift: int = Field(
        0,
        ge=0,
        description="pixels by which pictures are moved at random; they are not mirrored, "
        "since captions say left and right",
    )
    widths: tuple[int, ...] = Field(
        (32, 64, 128),
        description="channels a level, multiples of 8; the sides halve between levels",
    )
    blocks: int = Field(1, ge=1, description="residual blocks a level")
    pooled: bool = Field(
        True, description="the head sees means over the last level's places, not each place"
    )
    stem_stride: int = Field(
        1, ge=1, le=2, description="2 halves the sides at once: a third of the cost"
    )
    seed: Seed = Field(0, description="of initial weights, order and shifts")
    log_every: int = Field(20, ge=1, description="steps between lines of progress")
    checkpoint_every: int = Field(100, ge=1, description="steps between checkpoints")
    num_workers: int = Field(
        1, ge=0, description="training processes; 0 trains in the driver's own process"
    )
    use_gpu: bool = Field(False, description="give each worker a GPU")
    cpus_per_worker: int = Field(1, ge=1, description="CPU cores a worker")
    max_failures: int = Field(3, ge=0, description="how often lost workers are replaced")
    overwrite: bool = Field(False, description="replace finished results of another config")

    def recipe(self) -> FitRecipe:
        """The training recipe that these values spell."""
        halflife = self.ema_halflife
        return FitRecipe(
            steps=self.steps,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            max_shift=self.max_shift,
            seed=self.seed,
            averaging=Averaging(halflife, self.batch_size) if halflife > 0 else None,
        )

    def workers(self) -> Workers:
        """Where it trains."""
        return Workers(self.num_workers, self.use_gpu, self.cpus_per_worker, self.max_failures)

    def fingerprint(self) -> dict[str, Any]:
        """What decides the results, beside the dataset and the embeddings."""
        return {key: value for key, value in describe(self).items() if key not in _CIRCUMSTANCES}
