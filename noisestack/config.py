"""The base of job configs: frozen and checked, filled from a YAML file, flags or keywords.

A job declares a subclass of JobConfig; noisestack.flags reads one from a command line.
"""

import re
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Annotated, Any, TypeVar, get_args

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from noisestack.paths import as_path

_FRACTION = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)\s*/\s*(\d+\.?\d*|\.\d+)\s*", re.ASCII)

Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A key of draws: an int64 in manifests and in Parquet, and what torch takes."""


class JobConfig(BaseSettings):
    """The base of every command's config.

    Values come from keywords only. Environment variables are not read, so that a run depends only
    on its command line and YAML file. Unknown keys are errors. Paths are made absolute against the
    directory of the command's start, since Ray Train's workers change theirs; `as_path` says which
    are refused. A float may be written as a fraction, ``8/255``.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        coerce_numbers_to_str=True,  # `labels: [3, 4]` in YAML means what `--labels 3,4` means
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @field_validator("*", mode="before")
    @classmethod
    def _make_paths_absolute(cls, value: Any, info: ValidationInfo) -> Any:
        if not _holds_paths(cls.model_fields[str(info.field_name)].annotation):
            return value
        if isinstance(value, str | PurePath):
            return as_path(value)
        if isinstance(value, tuple | list):
            return tuple(as_path(v) if isinstance(v, str | PurePath) else v for v in value)
        if isinstance(value, dict):
            return {k: as_path(v) if isinstance(v, str | PurePath) else v for k, v in value.items()}
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _read_fractions(cls, value: Any, info: ValidationInfo) -> Any:
        if not _holds_floats(cls.model_fields[str(info.field_name)].annotation):
            return value
        if isinstance(value, dict):
            return {key: as_number(v) for key, v in value.items()}
        return [as_number(v) for v in value] if isinstance(value, list) else as_number(value)


def as_number(value: Any) -> Any:
    """A fraction such as ``8/255`` as the nearest float; any other value unchanged.

    Raises:
        ValueError: it divides by 0.
    """
    if not isinstance(value, str) or not _FRACTION.fullmatch(value):
        return value
    above, below = (Fraction(part.strip()) for part in value.split("/"))
    if below == 0:
        raise ValueError(f"{value} divides by 0")
    return float(above / below)


def _holds_floats(annotation: Any) -> bool:
    """Whether a key's values are floats: `float`, or a union, tuple or mapping of it."""
    return annotation is float or any(map(_holds_floats, get_args(annotation)))


def _holds_paths(annotation: Any) -> bool:
    """Whether a key's values are paths: `Path`, or a union, tuple or mapping of it."""
    return annotation is Path or any(map(_holds_paths, get_args(annotation)))


def describe(config: JobConfig) -> dict[str, Any]:
    """The resolved config as JSON can hold it: for fingerprints, run directories and cards."""
    return config.model_dump(mode="json")


Config = TypeVar("Config", bound=JobConfig)
