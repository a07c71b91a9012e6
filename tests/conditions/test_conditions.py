"""Conditions: null rows, what is read of a dataset or a request, and what is stored."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from small_stack import SPEC

from jobs.train_stack.config import TrainStackConfig
from pipeline.conditions import (
    CONDITIONS,
    ConditionName,
    ConditionSpec,
    embedded_condition,
)
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.encoder_id import EncoderId
from pipeline.stack_spec import StackSpec

LABEL, NONE = ConditionSpec("label", 3).rule, ConditionSpec("none").rule


def test_dropping_labels_makes_them_null() -> None:
    labels = LABEL.drop(torch.tensor([0, 1, 2]), torch.tensor([True, False, True]))
    assert labels.tolist() == [-1, 1, -1]
    assert LABEL.is_null(labels).tolist() == [True, False, True]


@pytest.mark.parametrize("name", sorted(CONDITIONS))
def test_null_rows_have_the_null_vector_and_pull_at_nothing_else(name: str) -> None:
    rule = ConditionSpec(name, 3, 5).rule
    module = rule.embedder(4)
    with torch.no_grad():
        module.null.copy_(torch.arange(4.0))
    examples = torch.from_numpy(rule.examples(3))
    dropped = rule.drop(examples, torch.tensor([True, True, True]))
    assert bool(rule.is_null(dropped).all())
    vectors = module(dropped, 3)
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


@pytest.mark.parametrize("name", sorted({*CONDITIONS} - {"none"}))
def test_dropping_takes_the_asked_rows_alone_and_examples_are_never_null(name: str) -> None:
    rule = ConditionSpec(name, 3, 5).rule
    examples = torch.from_numpy(rule.examples(3))
    assert not rule.is_null(examples).any()
    dropped = rule.drop(examples, torch.tensor([True, False, True]))
    assert rule.is_null(dropped).tolist() == [True, False, True]
    assert torch.equal(dropped[1], examples[1])


def test_a_text_has_the_tokens_that_are_not_zero_and_none_when_it_is_dropped() -> None:
    rule = ConditionSpec("text", 2, 3).rule
    text = torch.tensor([[[1.0, 0], [0, 2], [3, 0], [0, 0]], [[0.0, 1], [1, 1], [0, 0], [0, 0]]])
    states, there = rule.tokens(text)
    assert torch.equal(states, text[:, 1:])
    assert there.tolist() == [[True, True, False], [True, False, False]]
    text[0, 0] = 0  # no pooled vector: no condition, whatever else stands there
    assert rule.is_null(text).tolist() == [True, False]
    assert rule.tokens(text)[1].tolist() == [[False] * 3, [True, False, False]]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (np.zeros((1, 4), np.float32), "an embedding has 4 numbers of type float32, and the model"),
        (np.zeros((1, 3), np.int64), "an embedding has 3 numbers of type int64, and the model"),
        (np.array([[1, 2, 3], [1, np.nan, 3]]), "an embedding of row 1 has values that are not"),
    ],
)
def test_vectors_of_another_width_and_without_an_end_are_refused(
    values: np.ndarray, line: str
) -> None:
    with pytest.raises(UserError, match=line):
        ConditionSpec("embedding", 3).rule.read({"embedding": values})


def test_embeddings_are_read_as_they_were_stored() -> None:
    stored = np.array([[0.1, 0.2, 0.3]], np.float16)
    read = ConditionSpec("embedding", 3).rule.read({"embedding": stored})
    assert read is not None
    assert read.dtype == torch.float32
    assert np.array_equal(read.numpy(), stored.astype(np.float32))


def test_an_encoders_width_and_length_are_those_of_the_condition() -> None:
    texts = EncoderId("e", "1", "2", 16, "mean", 384)
    assert embedded_condition("text", texts) == ConditionSpec("text", 384, 16, texts)
    assert embedded_condition("embedding", texts) == ConditionSpec("embedding", 384, 0, texts)
    pictures = EncoderId("p", "1", "", 0, "picture", 384)
    with pytest.raises(UserError, match="of p have no tokens, which the condition text needs"):
        embedded_condition("text", pictures)


def test_the_size_is_the_datasets_number_of_classes() -> None:
    info = DatasetInfo(Path("d"), (8, 8, 1), ("a", "b"), {}, False, "")
    assert CONDITIONS["label"].kind.size_for(info) == 2
    assert CONDITIONS["none"].kind.size_for(info) == 0
    with pytest.raises(UserError, match="d has no labels; train with --condition none"):
        CONDITIONS["label"].kind.size_for(replace(info, classes=()))


@pytest.mark.parametrize("name", sorted(CONDITIONS))
def test_a_models_config_gives_the_condition_back(name: str) -> None:
    spec = replace(SPEC, condition=ConditionSpec(name, 3))
    assert spec.to_json()["condition"] == {"kind": name, "size": 3}
    assert StackSpec.from_json(spec.to_json(), "m") == spec
    encoder = EncoderId("e", "1", "2", 16, "mean", 3)
    spec = replace(SPEC, condition=ConditionSpec(name, 3, 16, encoder), attends=(1,))
    assert StackSpec.from_json(json.loads(json.dumps(spec.to_json())), "m") == spec


def test_the_config_offers_the_conditions_that_there_are() -> None:
    assert get_args(ConditionName) == tuple(CONDITIONS)
    assert TrainStackConfig.model_fields["condition"].annotation == ConditionName
