"""Each job of the command line as a function: `ns.jobs.generate(model=…, output=…)`.

The names are those of the commands, with ``_`` for ``-``: ``dir(ns.jobs)`` lists them. A job is
imported, and Ray with it, when it is called; it joins the Ray that is there, or starts a private
one for as long as it runs, as the command does.
"""

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import ValidationError

from noisestack.__main__ import COMMANDS
from noisestack.command import Command
from noisestack.config import JobConfig
from noisestack.errors import unwrap
from noisestack.flags import read_yaml
from noisestack.mistakes import explain, nearest
from pipeline.errors import UserError

Result = TypeVar("Result", covariant=True)


class Job(Generic[Result]):
    """One job; called with its config it runs to the end, or takes up where it was stopped.

    Attributes:
        name: as `dir` lists it.
    """

    def __init__(self, name: str, module: str, summary: str) -> None:
        self.name, self._module = name, module
        self.__doc__ = f"{summary}. ``help(ns.jobs.{name}.config)`` lists the keys."

    @property
    def config(self) -> type[JobConfig]:
        """The class of the job's config, whose fields say what each key means. Imports the job."""
        return self._command().config_class

    def __call__(
        self,
        config: JobConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        /,
        **keys: Any,
    ) -> Result:
        """Runs the job.

        Args:
            config: an object of the class `config`, a mapping of its keys, or the path of a YAML
                file as ``--config`` takes it; None where the keywords say all.
            keys: the config's keys, spelt with ``_``; they override `config`.

        Returns:
            The directory that holds the results, the same as the command prints. `evaluate` gives
            the figures that it wrote, and `verify` 0 for what is sound, else 1.

        Raises:
            UserError: an unknown key, a value that does not fit, or whatever the command would end
                with exit code 2 for.
        """
        command = self._command()
        resolved = _config_of(command.config_class, config, keys)
        try:
            return cast(Result, command.main(resolved))
        except Exception as error:
            cause = unwrap(error)
            if isinstance(cause, UserError):
                raise cause from None
            raise

    def __repr__(self) -> str:
        return f"<job {self.name}>"

    def _command(self) -> Command[Any]:
        command: Command[Any] = import_module(self._module).COMMAND
        return command


def _config_of(
    config_class: type[JobConfig],
    config: JobConfig | Mapping[str, Any] | str | os.PathLike[str] | None,
    keys: Mapping[str, Any],
) -> JobConfig:
    """The checked config; UserError, in one line, where there is none in what was given."""
    if isinstance(config, config_class) and not keys:
        return config
    values: dict[str, Any]
    if config is None:
        values = {}
    elif isinstance(config, config_class):
        values = config.model_dump(exclude_unset=True)
    elif isinstance(config, str | os.PathLike):
        values = read_yaml(Path(config), config_class)
    elif isinstance(config, Mapping):
        values = {str(key): value for key, value in config.items()}
    else:
        raise UserError(
            f"a {type(config).__name__} is no config of this job; give a {config_class.__name__}, "
            "a mapping, the path of a YAML file, or keywords"
        )
    values |= keys
    field_names = list(config_class.model_fields)
    for key in values:
        if key not in field_names:
            raise UserError(f"unknown key {key!r}; the nearest is {nearest(key, field_names)!r}")
    try:
        return config_class(**values)
    except ValidationError as error:
        origins = {key: key for key in values}
        raise UserError(
            explain(error, origins, config_class, str, lambda _: "give it as a keyword")
        ) from None


_JOBS: dict[str, Job[Any]] = {
    name.replace("-", "_"): Job(name.replace("-", "_"), module, summary)
    for name, (module, summary) in COMMANDS.items()
    if module.partition(".")[0] == "jobs"
}

boundary: Job[Path]
certify: Job[Path]
compare: Job[Path]
embed: Job[Path]
evaluate: Job[dict[str, Any]]
export: Job[Path]
generate: Job[Path]
ingest: Job[Path]
perturb: Job[Path]
purification: Job[Path]
quickstart: Job[Path]
train_classifier: Job[Path]
train_picture_encoder: Job[Path]
train_prior: Job[Path]
train_stack: Job[Path]
verify: Job[int]


def __getattr__(name: str) -> Job[Any]:
    if name not in _JOBS:
        raise AttributeError(f"there is no job {name!r}, only {', '.join(_JOBS)}")
    return _JOBS[name]


def __dir__() -> list[str]:
    return list(_JOBS)
