"""The settings of an endpoint, from the command line or from a Serve config file."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from noisestack.paths import path_or_name, refuse_address
from serve.key import KEY_VARIABLE

MAX_IMAGES = 64
"""Pictures in one request."""


class Settings(BaseModel):
    """The settings that the command line and a Serve config file share."""

    model: Path = Field(description="directory of the trained stack", strict=False)
    name: str | None = Field(
        None,
        min_length=1,
        description="the model's id in the API; its directory's name when not given",
    )
    text_encoder: str | None = Field(
        None,
        description="the text encoder that the model was trained with, for a model that takes "
        "sentences: a directory or a name; none for the name that the model has it by",
    )
    picture_encoder: Path | None = Field(
        None,
        description="the picture encoder that the model was trained with, for a model that is "
        "drawn on pictures: its directory; none for the one that the model names",
        strict=False,
    )
    prior: Path | None = Field(
        None,
        description="of a model that is drawn on pictures: the prior of train-prior, with which it "
        "takes sentences, too",
        strict=False,
    )
    num_replicas: int = Field(1, ge=1, description="copies of the model, each with its own queue")
    num_cpus: float = Field(1.0, gt=0, description="CPUs of a replica; whole ones set its threads")
    num_gpus: float = Field(0.0, ge=0, description="GPUs of a replica; 0 samples on the CPU")
    max_queued_rows: int = Field(
        512, ge=MAX_IMAGES, description="pictures that may wait in a replica; more get a 429"
    )
    max_layers: int = Field(
        256, ge=1, description="layers, all stages together, that a request may ask for"
    )
    request_timeout_s: float = Field(
        120.0, gt=0, description="seconds that a request may take; later it gets a 504"
    )
    max_body_bytes: int = Field(
        65_536, ge=1024, description="bytes of a request's body; larger ones get a 413"
    )
    api_key_file: Path | None = Field(
        None,
        description=f"file with the key that requests must carry; else {KEY_VARIABLE} is read",
        strict=False,
    )

    @field_validator("text_encoder")
    @classmethod
    def _path_or_name(cls, value: str | None) -> str | None:
        return None if value is None else path_or_name(value)

    @property
    def served_name(self) -> str:
        """The model's id in the API: of ``runs/digits/stack/model``, it is ``stack``."""
        directory = self.model.parent if self.model.name == "model" else self.model
        return self.name or directory.name


class AppConfig(Settings):
    """The ``args`` of an application in a Serve config file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("model", "api_key_file", "picture_encoder", "prior", mode="before")
    @classmethod
    def _no_address(cls, path: Any) -> Any:
        if isinstance(path, str):
            refuse_address(path)
        return path

    @field_validator("model", "api_key_file", "picture_encoder", "prior")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        # Replicas run in directories of Ray's choosing, on any node.
        if path is not None and not path.is_absolute():
            raise ValueError(f"{path} must be an absolute path, the same on every node")
        return path
