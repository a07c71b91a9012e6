import json
import os
from pathlib import Path

import pytest
from example import ExampleConfig
from pydantic import ValidationError

from noisestack.config import describe


def test_relative_paths_are_taken_from_the_directory_of_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ExampleConfig(output="runs/../out", model="~/model")
    monkeypatch.chdir("/")
    assert config.output == tmp_path / "out"
    assert config.model == Path(os.path.expanduser("~/model"))


def test_environment_variables_are_not_read(monkeypatch):
    monkeypatch.setenv("STEPS", "99")
    monkeypatch.setenv("steps", "99")
    assert ExampleConfig(output="a").steps == 8


def test_a_config_cannot_be_changed():
    config = ExampleConfig(output="a")
    with pytest.raises(ValidationError, match="frozen"):
        config.steps = 9


@pytest.mark.parametrize("wrong", [{"stpes": 9}, {"rate": float("nan")}, {"rate": float("inf")}])
def test_unknown_keys_and_numbers_that_are_none_are_refused(wrong):
    with pytest.raises(ValidationError):
        ExampleConfig(output="a", **wrong)


def test_describe_survives_json_and_builds_the_same_config():
    config = ExampleConfig(output="a", size=(3, 4), model="b", layers=None)
    described = json.loads(json.dumps(describe(config)))
    assert described["output"] == str(config.output)
    assert ExampleConfig(**described) == config
