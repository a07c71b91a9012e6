"""Conditions: null rows, what is read of a dataset or a request, and what is stored."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from small_stack import SPEC

from jobs.train_stack.config import TrainStackConfig
from pipeline.conditions import CONDITIONS, ConditionName, ConditionSpec
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.stack_spec import StackSpec

LABEL, NONE = ConditionSpec("label", 3).rule, ConditionSpec("none").rule


def test_dropping_labels_makes_them_null() -> None:
    labels = LABEL.drop(torch.tensor([0, 1, 2]), torch.tensor([True, False, True]))
    assert labels.tolist() == [-1, 1, -1]
    assert LABEL.is_null(labels).tolist() == [True, False, True]


@pytest.mark.parametrize("name", sorted(CONDITIONS))
def test_null_rows_have_the_null_vector_and_pull_at_nothing_else(name: str) -> None:
    rule = ConditionSpec(name, 3).rule
    module = rule.embedder(4)
    with torch.no_grad():
        module.null.copy_(torch.arange(4.0))
    vectors = module(rule.drop(torch.tensor([0, 1, 2]), torch.tensor([True, True, True])), 3)
    assert torch.equal(vectors, module(None, 3))
    vectors.sum().backward()
    assert all(
        p.grad is None or not p.grad.any() for n, p in module.named_parameters() if n != "null"
    )


def test_labels_are_read_with_the_null_one_and_others_are_refused() -> None:
    read = LABEL.read({"label": np.array([2, -1], np.int64)})
    assert read is not None
    assert read.dtype == torch.int64
    assert read.tolist() == [2, -1]
    with pytest.raises(UserError, match="label 3 is outside the model's classes 0 to 2"):
        LABEL.read({"label": np.array([0, 3])})
    assert NONE.read({"label": np.array([0, 3])}) is None


def test_the_size_is_the_datasets_number_of_classes() -> None:
    info = DatasetInfo(Path("d"), (8, 8, 1), ("a", "b"), {}, False, "")
    assert CONDITIONS["label"].kind.size_for(info) == 2
    assert CONDITIONS["none"].kind.size_for(info) == 0
    with pytest.raises(UserError, match="d has no labels; train with --condition none"):
        CONDITIONS["label"].kind.size_for(replace(info, classes=()))


@pytest.mark.parametrize("name", sorted(CONDITIONS))
def test_a_models_config_gives_the_condition_back(name: str) -> None:
    spec = replace(SPEC, condition=ConditionSpec(name, 3))
    assert asdict(spec.condition) == {"kind": name, "size": 3}
    assert StackSpec.from_json(spec.to_json(), "m") == spec


def test_the_config_offers_the_conditions_that_there_are() -> None:
    assert get_args(ConditionName) == tuple(CONDITIONS)
    assert TrainStackConfig.model_fields["condition"].annotation == ConditionName
