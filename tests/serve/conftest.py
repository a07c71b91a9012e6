"""A model directory on disk, for the tests that load one."""

import dataclasses

import pytest
from fake_model import SPEC

from pipeline.stack import Stack, save_stack


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """An untrained stack, which draws noise, but noise of its own."""
    stack = Stack(dataclasses.replace(SPEC, rows_per_call=4))
    path = tmp_path_factory.mktemp("models") / "untrained" / "model"
    save_stack(stack, dict(stack.named_parameters()), path, {"note": "untrained"})
    return path
