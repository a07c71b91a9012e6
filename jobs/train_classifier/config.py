"""The config of `train-classifier`: what each key means, and what does not fit together."""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from jobs.common.training import Workers
from noisestack.config import JobConfig, describe
from pipeline.attacks.base import Norm
from pipeline.attacks.geometry.ball import check_size, whole_levels
from pipeline.errors import UserError
from pipeline.registry import explained
from pipeline.training.averaging import Averaging
from pipeline.training.classifier import ClassifierRecipe
from pipeline.training.objectives import OBJECTIVES, ObjectiveName
from pipeline.training.objectives.base import Objective
from pipeline.training.objectives.entry import ObjectiveSettings

# What decides where and how it runs, and not what comes out; the sets count by their content.
_CIRCUMSTANCES = {
    "dataset", "split", "generated", "output", "overwrite", "num_workers", "use_gpu",
    "cpus_per_worker", "max_failures", "log_every", "checkpoint_every",
}  # fmt: skip
# What some objectives heed, and others do not.
_ADVERSARIAL = ("eps", "eps_warmup", "attack_steps", "attack_step_size", "trades_beta")


class TrainClassifierConfig(JobConfig):
    """Train a small residual classifier on the train split and measure it on another.

    OUTPUT/model is the classifier, OUTPUT/losses.png its losses. The same command goes on where an
    interrupted one stopped.
    """

    dataset: Path = Field(description="directory of the dataset, as `ingest` writes it")
    output: Path = Field(description="directory of the run; the classifier is OUTPUT/model")
    split: str | None = Field(
        None, description="split that it is measured on; none for test, else validation"
    )
    steps: int = Field(
        300,
        ge=1,
        description="optimiser steps; raised, the same command goes on from a finished run",
    )
    batch_size: int = Field(128, ge=1, description="pictures a step, over all workers")
    learning_rate: float = Field(3e-3, gt=0, le=100, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.05, ge=0, le=100, description="decoupled weight decay")
    ema_halflife: float = Field(
        0.0, ge=0, description="half-life of the published weights' average, in pictures; 0: none"
    )
    max_shift: int = Field(0, ge=0, description="pixels by which pictures are moved at random")
    adversarial_loss: ObjectiveName = Field("none", description=explained(OBJECTIVES))
    eps: float | None = Field(
        None,
        gt=0,
        description="pgd, trades: largest change of a value, in [0, 1] units, such as 8/255; whole "
        "levels of 1/255, downwards",
    )
    eps_warmup: int = Field(0, ge=0, description="steps over which eps grows evenly from nothing")
    attack_steps: int = Field(1, ge=1, le=100, description="gradient steps to the worst picture")
    attack_step_size: float = Field(
        1.25, gt=0, le=2, description="length of one of these, in units of eps"
    )
    trades_beta: float = Field(6.0, gt=0, le=1000, description="trades: the change's weight")
    generated: Path | None = Field(
        None, description="a sample set of `generate`, whose rows take part in the training"
    )
    generated_share: float = Field(
        0.0, ge=0, lt=1, description="the part of each batch that is generated"
    )
    widths: tuple[int, ...] = Field(
        (32, 64), description="channels a level, multiples of 8; the sides halve between levels"
    )
    blocks: int = Field(1, ge=1, description="residual blocks a level")
    pooled: bool = Field(
        True, description="the head sees means over the last level's places, not each place"
    )
    stem_stride: int = Field(
        1, ge=1, le=2, description="2 halves the sides at once: a third of the cost"
    )
    seed: int = Field(0, ge=0, description="of initial weights, order, shifts and perturbations")
    log_every: int = Field(20, ge=1, description="steps between lines of progress")
    checkpoint_every: int = Field(100, ge=1, description="steps between checkpoints")
    num_workers: int = Field(
        1, ge=0, description="training processes; 0 trains in the driver's own process"
    )
    use_gpu: bool = Field(False, description="give each worker a GPU")
    cpus_per_worker: int = Field(1, ge=1, description="CPU cores a worker")
    max_failures: int = Field(3, ge=0, description="how often lost workers are replaced")
    overwrite: bool = Field(False, description="replace finished results of another config")

    @field_validator("eps")
    @classmethod
    def _is_a_change(cls, value: float | None) -> float | None:
        if value is not None:
            try:
                check_size("eps", value, Norm.LINF)
            except UserError as error:
                raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _keys_agree(self) -> "TrainClassifierConfig":
        for key in _ADVERSARIAL:
            if not self.heeds(key) and getattr(self, key) != type(self).model_fields[key].default:
                names = " or ".join(n for n, entry in OBJECTIVES.items() if key in entry.heeds)
                raise ValueError(f"{key} is for adversarial_loss {names}")
        if self.is_adversarial and self.eps is None:
            raise ValueError(f"adversarial_loss {self.adversarial_loss} needs eps, for example 0.1")
        if (self.generated is None) != (self.generated_share == 0):
            raise ValueError("generated and generated_share belong together: give both or neither")
        return self

    def heeds(self, key: str) -> bool:
        """Whether the objective takes what a key says."""
        return key in OBJECTIVES[self.adversarial_loss].heeds

    @property
    def is_adversarial(self) -> bool:
        """Whether it trains on pictures that are perturbed within eps."""
        return self.heeds("eps")

    @property
    def levels(self) -> int:
        """The radius in whole levels of 1/255; 0 without an adversarial loss.

        Raises:
            UserError: eps is less than one level.
        """
        return 0 if self.eps is None else whole_levels(self.eps, Norm.LINF)

    def objective(self) -> Objective:
        """What training makes small."""
        settings = ObjectiveSettings(
            self.levels,
            self.attack_steps,
            self.attack_step_size,
            self.eps_warmup,
            self.trades_beta,
        )
        return OBJECTIVES[self.adversarial_loss].build(settings)

    def recipe(self) -> ClassifierRecipe:
        """The training recipe that these values spell."""
        halflife = self.ema_halflife
        return ClassifierRecipe(
            steps=self.steps,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            max_shift=self.max_shift,
            seed=self.seed,
            objective=self.objective(),
            averaging=Averaging(halflife, self.batch_size) if halflife > 0 else None,
        )

    def workers(self) -> Workers:
        """Where it trains."""
        return Workers(self.num_workers, self.use_gpu, self.cpus_per_worker, self.max_failures)

    def fingerprint(self) -> dict[str, Any]:
        """What decides the results, beside the sets and the split that is measured on."""
        return {k: v for k, v in describe(self).items() if k not in _CIRCUMSTANCES}
