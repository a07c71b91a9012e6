"""What a job is told: a frozen, checked config, filled from a YAML file, flags, or plain keywords.

A job declares a subclass of JobConfig; noisestack.flags reads one from a command line.
"""

from os.path import abspath
from pathlib import Path
from typing import Any, TypeVar

from pydantic import field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class JobConfig(BaseSettings):
    """The base of every command's config.

    Values come from keywords alone, so that a run depends on nothing that its command line and its
    YAML file do not say: environment variables are not read. Unknown keys are errors. Paths come
    out absolute, against the directory that the command was started in: Ray Train's workers change
    theirs.
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

    @field_validator("*", mode="after")
    @classmethod
    def _make_paths_absolute(cls, value: Any) -> Any:
        if isinstance(value, Path):
            return Path(abspath(value.expanduser()))
        if isinstance(value, tuple):
            return tuple(cls._make_paths_absolute(item) for item in value)
        return value


def describe(config: JobConfig) -> dict[str, Any]:
    """The resolved config as JSON can hold it: for fingerprints, run directories and cards."""
    return config.model_dump(mode="json")


Config = TypeVar("Config", bound=JobConfig)
