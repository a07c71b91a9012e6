"""The config of `boundary`: what each key means."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from jobs.common.user_classifier import CLASSIFIER, ROWS_PER_CALL, classifier_spec
from noisestack.config import JobConfig, Seed


class BoundaryConfig(JobConfig):
    """Draw where classifiers change their answer around a picture, and measure how near that is.

    One classifier or several side by side, such as the same one before and after smoothing. It
    computes in this process, without Ray. All lengths are in L2, values in [0, 1].
    """

    dataset: Path = Field(description="directory of the dataset, as `ingest` writes it")
    classifiers: dict[str, str] = Field(
        {}, description=f"NAME=CLASSIFIER, each with a name of your choice: {CLASSIFIER}"
    )
    sigmas: dict[str, float] = Field(
        {},
        description="NAME=SIGMA for those that are smoothed: they answer what most pictures with "
        "noise N(0, SIGMA² I) are given; in [0, 1] units, such as 0.25",
    )
    stacks: dict[str, Path] = Field(
        {},
        description="NAME=DIRECTORY of a stack that denoises what the smoothed classifier NAME "
        "sees; a NAME without a classifier is the stack as its own classifier",
    )
    weights: dict[str, Path] = Field(
        {}, description="NAME=FILE, safetensors for a classifier that is module:function"
    )
    rows_per_call: int | None = Field(None, ge=1, description=ROWS_PER_CALL)
    output: Path = Field(description="directory that maps, measures and plots are written to")
    split: str | None = Field(
        None, description="the dataset's split; none for test, else validation"
    )
    row: int | None = Field(
        None,
        ge=0,
        description="number of the picture in the middle of the maps; none for the first that all "
        "answer rightly, or at least the first of them",
    )
    through: tuple[int, int] | None = Field(
        None, description="two further row numbers: one more map, on the plane through the three"
    )
    points: int = Field(61, ge=5, le=1001, description="points along each side of a map")
    reach: float | None = Field(
        None,
        gt=0,
        description="length from the middle of a map to its edge; none for 1.6 times the farthest "
        "of the boundaries that attacks find there",
    )
    limit: int = Field(50, ge=1, description="rows that are measured, from the first")
    max_length: float | None = Field(
        None,
        gt=0,
        description="the longest noise; boundaries are looked for up to twice that; none for a "
        "third of the square root of the number of values, 9.3 for 28x28",
    )
    directions: int = Field(4, ge=1, description="random directions and noises a row")
    attack_steps: int = Field(
        100, ge=1, lt=1 << 14, description="steps of DDN, which finds the chosen directions"
    )
    draws: int = Field(100, ge=1, le=1 << 20, description="votes on a picture when smoothed")
    slope_draws: int = Field(
        8, ge=1, le=1 << 12, description="draws that an attack on a smoothed classifier averages"
    )
    seed: Seed = Field(0, description="keys random directions and the noise of smoothing")
    overwrite: bool = Field(False, description="replace finished results of another config")

    @field_validator("classifiers", mode="before")
    @classmethod
    def _classifier_specs(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: classifier_spec(spec) for name, spec in value.items()}
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """All that are looked at, in their order."""
        return tuple(dict.fromkeys((*self.classifiers, *self.stacks)))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.names:
            raise ValueError("classifiers names none; give NAME=CLASSIFIER")
        for key in ("sigmas", "weights"):
            for name in getattr(self, key):
                if name not in self.names:
                    raise ValueError(
                        f"{key} names {name!r}, which is none of the classifiers: "
                        f"{', '.join(self.names)}"
                    )
        for name in self.stacks:
            if name not in self.sigmas:
                raise ValueError(
                    f"the stack {name!r} denoises noise of some sigma; give sigmas {name}=0.25"
                )
        return self
