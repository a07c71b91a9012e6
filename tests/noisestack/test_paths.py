"""What is no path is refused in one line that names the key, for every key of every command."""

import os
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
from example import ExampleConfig

from noisestack.__main__ import COMMANDS
from noisestack.command import Command
from noisestack.flags import flag_of, positional_of, read_config
from noisestack.paths import as_path
from pipeline.errors import UserError


def holds_paths(annotation: object) -> bool:
    return annotation is Path or any(map(holds_paths, get_args(annotation)))


def path_keys() -> list[tuple[Command, str]]:
    """Every key of every command that is a path, and those that may be one."""
    commands = [import_module(module).COMMAND for module, _ in COMMANDS.values()]
    return [
        (command, key)
        for command in commands
        for key, field in command.config_class.model_fields.items()
        if holds_paths(field.annotation) or key == "classifier"
    ]


def refusal(command: Command, key: str, value: str) -> str:
    """The one line with which a command refuses a value of a key; other keys may be missing."""
    as_flag = key != positional_of(command.config_class)
    with pytest.raises(UserError) as caught:
        read_config(command.config_class, [flag_of(key), value] if as_flag else [value], "x")
    return str(caught.value)


def test_no_key_of_any_command_takes_an_address() -> None:
    assert len(path_keys()) > 20
    for command, key in path_keys():
        for address in ("s3://bucket/x", "gs://bucket/x", "hf://datasets/x", "s3:/bucket/x"):
            line = refusal(command, key, address)
            assert f"{address} is an address, not a path; " in line
            assert key in line.replace("-", "_").lower()
        assert "write /data/x" in refusal(command, key, "file:///data/x")


def test_an_address_that_went_through_pathlib_is_still_known() -> None:
    with pytest.raises(ValueError, match="is an address"):
        ExampleConfig(output=Path("s3://bucket/x"))


def test_no_key_takes_an_empty_path_or_the_home_of_nobody() -> None:
    for command, key in path_keys():
        assert "is no path" in refusal(command, key, "")
        assert "a user who is unknown here" in refusal(command, key, "~nobody-of-this-name/x")


def test_folders_with_colons_are_paths(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("./s3:/x", "run:2", "12:30/x", "a/b://c", "C:/x"):
        assert as_path(name) == Path(os.path.abspath(name))


def test_on_a_cluster_no_key_takes_a_relative_path(monkeypatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    for command, key in path_keys():
        line = refusal(command, key, "runs/x")
        assert "runs/x is relative, and each node of a cluster would look elsewhere" in line
        assert key in line.replace("-", "_").lower()
    assert ExampleConfig(output="/shared/x").output == Path("/shared/x")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert ExampleConfig(output="x").output == Path.cwd() / "x"


def test_rays_copy_of_the_working_directory_is_no_place_for_results(tmp_path, monkeypatch) -> None:
    package = tmp_path / "session_1/runtime_resources/working_dir_files/_ray_pkg_0123456789abcdef"
    package.mkdir(parents=True)
    monkeypatch.chdir(package)
    for path in ("runs/x", str(package / "runs/x"), "."):
        with pytest.raises(ValueError, match="Ray's copy of the job's working directory"):
            ExampleConfig(output=path)
