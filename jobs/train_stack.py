"""Trains a stack of conditional denoisers on a dataset, on Ray Data and Ray Train."""

from pathlib import Path
from typing import Any, Literal

import ray.data
from pydantic import Field, model_validator

from jobs.common.progress import duration
from jobs.common.stack_worker import CHECKPOINTS, MODEL_DIRECTORY, StackRun, train_worker
from jobs.common.stream import training_dataset
from jobs.common.training import Workers, run_training
from noisestack.command import Command
from noisestack.config import JobConfig, describe
from noisestack.session import ray_session
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, images_of, iterate_shards, load_dataset
from pipeline.formats.output import claim_output
from pipeline.networks.condition import ConditionSpec
from pipeline.stack_spec import StackSpec
from pipeline.training.checkpoint import newest_checkpoint
from pipeline.training.statistics import check_sides, measure, stages_for
from pipeline.training.trainer import Recipe
from pipeline.training.weighting import WEIGHTINGS


class TrainStackConfig(JobConfig):
    """Train a stack of conditional denoisers on a dataset that `noisestack ingest` made."""

    dataset: Path = Field(description="the dataset's directory")
    output: Path = Field(description="the run's directory; the model goes into OUTPUT/model")
    overwrite: bool = Field(False, description="replace another config's results in OUTPUT")
    network: Literal["nested", "stage"] = Field(
        "nested",
        description="nested: one U-Net that small pictures enter at its inner levels; "
        "stage: a network for each stage",
    )
    condition: Literal["label", "none"] = Field(
        "label", description="what the pictures are drawn on: their label, or nothing"
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
        100.0, gt=0, description="the noise level of z_0, in units of a picture from -1 to 1"
    )
    sigma_min: float = Field(
        0.01, gt=0, description="the lowest noise level above 0, in the same units"
    )
    switch: float = Field(
        0.07,
        gt=0,
        description="the resolution rises where the details' power is this part of the noise's",
    )
    weighting: Literal["edm", "elbo", "min_snr", "uniform"] = Field(
        "edm", description="how much each noise level counts; elbo makes the loss the bound"
    )
    steps: int = Field(10_000, ge=1, description="optimiser steps")
    batch_size: int = Field(128, ge=1, description="pictures a step, over all workers")
    stage_share: tuple[float, ...] | None = Field(
        None, description="part of a batch that each stage trains on, 0 to 1; none for all of it"
    )
    learning_rate: float = Field(1e-3, gt=0, description="Adam's learning rate at its peak")
    warmup_steps: int = Field(100, ge=1, description="steps in which the learning rate rises")
    ema_halflife: float = Field(
        20_000, gt=0, description="half-life of the weights' moving average, in pictures"
    )
    drop_condition: float = Field(
        0.1, ge=0, le=1, description="probability with which a condition is dropped"
    )
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    seed: int = Field(0, ge=0, description="keys the weights' start, the order and the noise")
    layers: tuple[int, ...] | None = Field(
        None, description="layers in each stage when sampling; none for 8 each"
    )
    sampler: Literal["ancestral", "ddim", "heun", "dpmpp_2m"] = Field(
        "heun", description="the model's default sampler"
    )
    guidance: float = Field(1.0, ge=0, description="the model's default guidance weight; 1 is none")
    rows_per_call: int = Field(
        64, ge=1, description="rows in each call of the network when sampling, always as many"
    )
    checkpoint_every: int = Field(500, ge=1, description="steps between checkpoints")
    log_every: int = Field(50, ge=1, description="steps between lines of progress")
    grid_rows: int = Field(4, ge=0, description="samples of each class in a checkpoint's grid")
    num_workers: int = Field(
        1, ge=0, description="training processes; 0 trains in this one, without Ray Train's"
    )
    cpus_per_worker: int = Field(1, ge=1, description="CPUs a worker, and so its torch threads")
    use_gpu: bool = Field(False, description="give each worker a GPU")
    max_failures: int = Field(3, ge=0, description="how often lost workers are replaced")

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
        if self.num_workers and self.batch_size % self.num_workers:
            raise ValueError("batch_size must be a multiple of num_workers")
        return self

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
        )


# What decides neither the weights nor the model's defaults: a run may go on with other values.
_FREE = {
    "output", "overwrite", "num_workers", "cpus_per_worker", "use_gpu", "max_failures", "log_every",
    "checkpoint_every", "grid_rows",
}  # fmt: skip


def main(config: TrainStackConfig) -> Path:
    """Trains, or goes on with, the run in ``config.output``; returns the model's directory."""
    info = load_dataset(config.dataset)
    check_sides(info.shape[:2], config.stages)
    if info.num_rows("train") == 0:
        raise UserError(f"{info.path} has no rows in its train split")
    fingerprint = {k: v for k, v in describe(config).items() if k not in _FREE}
    fingerprint["dataset"] = info.sha256
    with claim_output(
        config.output,
        {"job": "train_stack", **fingerprint},
        overwrite=config.overwrite,
        marker=f"{MODEL_DIRECTORY}/card.json",
    ) as output:
        final = output.path / MODEL_DIRECTORY
        if output.finished:
            print(f"{final} is there already, made by this config")
            return final
        spec = _stack_spec(config, info)
        _describe_stages(spec)
        with ray_session():
            run = StackRun(
                info,
                spec,
                config.recipe(),
                output.directory,
                config.log_every,
                config.checkpoint_every,
                config.grid_rows,
                describe(config),
            )
            checkpoints = output.directory / CHECKPOINTS

            def dataset() -> ray.data.Dataset:
                found = newest_checkpoint(checkpoints)
                return training_dataset(
                    info,
                    "train",
                    batch_size=config.batch_size,
                    num_steps=config.steps,
                    start_step=found[0] if found else 0,
                    seed=config.seed,
                    columns=("image", "label") if spec.classes else ("image",),
                )

            run_training(
                train_worker,
                {"run": run},
                output=output.directory,
                workers=Workers(
                    config.num_workers, config.use_gpu, config.cpus_per_worker, config.max_failures
                ),
                dataset=dataset,
                progress=_progress_line,
            )
        print(f"the model is in {final}")
    return final


def _stack_spec(config: TrainStackConfig, info: DatasetInfo) -> StackSpec:
    tables = iterate_shards(info, "train", ["image"])
    statistics = measure((images_of(table) for table in tables), config.stages)
    labelled = config.condition == "label"
    if labelled and not info.classes:
        raise UserError(f"{info.path} has no labels; train with --condition none")
    return StackSpec(
        shape=info.shape,
        classes=info.classes if labelled else (),
        condition=ConditionSpec("label", len(info.classes)) if labelled else ConditionSpec("none"),
        stages=stages_for(
            statistics,
            sigma_max=config.sigma_max,
            sigma_min=config.sigma_min,
            switch=config.switch,
        ),
        sigma_data=statistics.sigma_data,
        tau2=statistics.tau2,
        network=config.network,
        widths=config.widths,
        blocks=config.blocks,
        embedding=config.embedding,
        dropout=config.dropout,
        rows_per_call=config.rows_per_call,
        layers=config.layers or (8,) * len(config.stages),
        sampler=config.sampler,
        guidance=config.guidance,
    )


def _describe_stages(spec: StackSpec) -> None:
    for stage in spec.stages:
        print(f"stage {stage.side} px: sigma {stage.sigma_high:.3g} to {stage.sigma_low:.3g}")


def _progress_line(line: dict[str, Any]) -> str:
    losses = "  ".join(f"{name} {value:.4f}" for name, value in line["loss"].items())
    return (
        f"step {line['step']:>6,}/{line['num_steps']:,}  loss {losses}  "
        f"{line['pictures_per_second']:,.0f} pictures/s  {duration(line['seconds_left'])} left"
    )


COMMAND = Command(TrainStackConfig, main)
if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
