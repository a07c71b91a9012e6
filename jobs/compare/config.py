"""The config of `compare`: which sets, and what was smoothed where it is to be asked."""

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from jobs.common.user_classifier import CLASSIFIER, WEIGHTS, classifier_spec
from noisestack.config import JobConfig
from pipeline.smoothing.noise import MOST_DRAWS

PICTURE_FILE, RESULTS_FILE = "accuracy.png", "comparison.json"


class CompareConfig(JobConfig):
    """Draw the accuracy that perturbation sets of the same pictures leave, and tell them apart.

    Sets with several balls make the curve of accuracy against ε; sets of several attacks, or by
    another model's gradients, show whether one of them breaks what another leaves. Beside
    certificate sets of the same classifier, in L2, the page bounds its smoothed accuracy from
    below, and with --classifier from above: the smoothed classifier is asked about the pictures
    that the attacks found, and certificates that its answers contradict are named.
    """

    sets: tuple[Path, ...] = Field(
        min_length=1,
        description="directories of perturbation sets, of the same rows in one norm, and of "
        "certificate sets",
    )
    dataset: Path | None = Field(
        None, description="of these rows; to ask the smoothed classifier, with what was smoothed"
    )
    classifier: str | None = Field(
        None, description=f"what was smoothed, with dataset: {CLASSIFIER}"
    )
    weights: Path | None = Field(None, description=WEIGHTS)
    stack: Path | None = Field(None, description="of a base that has one: the stack's directory")
    votes: int = Field(
        1000,
        ge=100,
        le=MOST_DRAWS // 2,
        description="draws on each of the attacks' pictures, where it is asked",
    )
    output: Path = Field(description=f"directory that {PICTURE_FILE} and {RESULTS_FILE} go to")
    overwrite: bool = Field(False, description="replace the comparison of other sets")

    _classifier_spec = field_validator("classifier", mode="before")(classifier_spec)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.dataset is None) != (self.classifier is None and self.stack is None):
            raise ValueError("dataset and what was smoothed are given together, or neither")
        return self
