"""The config of `evaluate`: what each key means."""

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from noisestack.config import JobConfig, Seed
from noisestack.paths import path_or_name


class EvaluateConfig(JobConfig):
    """Judge a sample set, and the stack that made it, against a dataset.

    By a classifier, by a picture encoder, or by both.
    """

    samples: Path = Field(description="the sample set's directory, as generate leaves it")
    dataset: Path = Field(description="the dataset that the stack was trained on")
    classifier: Path | None = Field(
        None,
        description="a classifier's directory, as train-classifier leaves it, for labels and "
        "Fréchet distances",
    )
    picture_encoder: Path | None = Field(
        None,
        description="a picture encoder's directory, as train-picture-encoder leaves it, to find "
        "the samples' prompts among captions; not the one that the model was trained on",
    )
    text_encoder: str | None = Field(
        None,
        description="its text encoder: a directory or a name; none for where it was in training",
    )
    model: Path | None = Field(
        None, description="the stack's directory, for the bound in bits/dim; none leaves it out"
    )
    split: str | None = Field(
        None, description="split that samples are held against; none for test, else validation"
    )
    output: Path = Field(description="the directory for evaluation.json")
    overwrite: bool = Field(False, description="replace another config's results in OUTPUT")
    count: int | None = Field(
        None,
        ge=2,
        description="pictures on each side of the Fréchet distance; none for as many as the "
        "samples, the split and the train split all have",
    )
    neighbours: int = Field(
        10_000,
        ge=2,
        description="training pictures searched for near copies, and held-out pictures to compare "
        "with, at most; equal pictures are looked for in the whole train split",
    )
    bound_layers: int = Field(256, ge=8, description="layers T of the chain that is bounded")
    bound_rows: int = Field(
        512, ge=2, description="random held-out pictures that the bound averages over"
    )
    bound_rows_per_layer: int = Field(
        32, ge=2, description="of these, pictures drawn for each layer's term"
    )
    seed: Seed = Field(0, description="keys the draws of rows and of the bound's noise")

    @field_validator("text_encoder")
    @classmethod
    def _path_or_name(cls, value: str | None) -> str | None:
        return None if value is None else path_or_name(value)

    @model_validator(mode="after")
    def _is_judged_by_something(self) -> "EvaluateConfig":
        if self.classifier is None and self.picture_encoder is None:
            raise ValueError("classifier or picture_encoder is needed: what samples are judged by")
        if self.text_encoder is not None and self.picture_encoder is None:
            raise ValueError("text_encoder is a picture encoder's: give picture_encoder as well")
        return self
