"""The config of `train-classifier`: what each key means, and what does not fit together."""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from jobs.common.training import Workers
from noisestack.config import JobConfig, Seed, describe
from pipeline.attacks.base import Norm
from pipeline.attacks.geometry.ball import check_size, whole_levels
from pipeline.errors import UserError
from pipeline.registry import explained
from pipeline.smoothing.noise import LARGEST_SIGMA, SMALLEST_SIGMA
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
_OF_SOME = sorted({key for entry in OBJECTIVES.values() for key in entry.heeds})
# Came later than the rest: fingerprints of runs that do not heed them stay as they were.
_LATER = {
    "eps_l2", "noise_sigma", "noise_draws", "consistency_weight", "entropy_weight", "worst_weight",
}  # fmt: skip
# What an objective that heeds it cannot do without, with an example.
_NEEDED = {"eps": "0.1", "eps_l2": "1", "noise_sigma": "0.25"}


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
    eps_l2: float | None = Field(
        None,
        gt=0,
        le=100,
        description="cat_rs, smoothadv: largest change in L2, in [0, 1] pixel units",
    )
    eps_warmup: int = Field(0, ge=0, description="steps over which eps grows evenly from nothing")
    attack_steps: int = Field(1, ge=1, le=100, description="gradient steps to the worst picture")
    attack_step_size: float = Field(
        1.25, gt=0, le=2, description="length of one of these, in units of eps or eps_l2"
    )
    trades_beta: float = Field(6.0, gt=0, le=1000, description="trades: the change's weight")
    noise_sigma: float | None = Field(
        None,
        ge=SMALLEST_SIGMA,
        le=LARGEST_SIGMA,
        description="cat_rs, consistency, gaussian, smoothadv: standard deviation of the noise, in "
        "[0, 1] pixel units, as `certify` takes it",
    )
    noise_draws: int = Field(2, ge=1, le=1000, description="of these: noisy copies of a picture")
    consistency_weight: float = Field(
        10.0, ge=0, le=1000, description="consistency: weight of the copies' disagreement"
    )
    entropy_weight: float = Field(
        0.5, ge=0, le=1000, description="consistency: weight of their mean answer's entropy"
    )
    worst_weight: float = Field(
        1.0, ge=0, le=1000, description="cat_rs: weight of the worst copy's change"
    )
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
    seed: Seed = Field(0, description="of initial weights, order, shifts, noise and perturbations")
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
        for key in _OF_SOME:
            if not self.heeds(key) and getattr(self, key) != type(self).model_fields[key].default:
                names = " or ".join(n for n, entry in OBJECTIVES.items() if key in entry.heeds)
                raise ValueError(f"{key} is for adversarial_loss {names}")
        for key, example in _NEEDED.items():
            if self.heeds(key) and getattr(self, key) is None:
                raise ValueError(
                    f"adversarial_loss {self.adversarial_loss} needs {key}, for example {example}"
                )
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
    def is_smooth(self) -> bool:
        """Whether it trains on pictures under noise."""
        return self.heeds("noise_sigma")

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
            levels=self.levels,
            attack_steps=self.attack_steps,
            attack_step_size=self.attack_step_size,
            eps_warmup=self.eps_warmup,
            trades_beta=self.trades_beta,
            eps_l2=self.eps_l2 or 0.0,
            noise_sigma=self.noise_sigma or 0.0,
            noise_draws=self.noise_draws,
            consistency_weight=self.consistency_weight,
            entropy_weight=self.entropy_weight,
            worst_weight=self.worst_weight,
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
        unheeded = {key for key in _LATER if not self.heeds(key)}
        return {k: v for k, v in describe(self).items() if k not in _CIRCUMSTANCES | unheeded}
