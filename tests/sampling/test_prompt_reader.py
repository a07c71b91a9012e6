"""Prompts into conditions: the encoder's very values, however they are asked for."""

from pathlib import Path

import numpy as np
import pytest
from text_model import MAX_LENGTH, TextModel, text_model
from tiny_encoders import sentences, tiny_bert

from pipeline.conditions import ConditionSpec
from pipeline.errors import UserError
from pipeline.sampling import prompt_reader
from pipeline.sampling.prompt_reader import PromptReader, open_prompt_reader

pytest.importorskip("transformers")

LONG = "a small red circle above a large blue square"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return text_model(tmp_path_factory.mktemp("reader"))


@pytest.fixture
def reader(model: TextModel) -> PromptReader:
    return open_prompt_reader(model.condition)


def test_conditions_are_the_encoders_values_and_a_dash_is_null(
    model: TextModel, reader: PromptReader
) -> None:
    prompts = ["a cat", "-", "two dogs .", "a cat", "<none>"]
    found = reader.conditions(prompts)
    assert (found.dtype, found.shape) == (np.float32, (5, 1 + MAX_LENGTH, 16))
    assert not found[[1, 4]].any()
    expected = model.load_encoder().conditions(["a cat", "two dogs ."])
    np.testing.assert_array_equal(found[[0, 2, 3]], expected[[0, 1, 0]])


def test_a_model_without_tokens_gets_the_pooled_vector(model: TextModel, tmp_path: Path) -> None:
    pooled = ConditionSpec("embedding", 16, encoder=model.condition.encoder)
    found = open_prompt_reader(pooled).conditions(["a cat", "-"])
    expected = model.load_encoder().encode(["a cat"]).pooled
    np.testing.assert_array_equal(found, np.concatenate([expected, np.zeros((1, 16))]))


def test_only_the_last_prompts_are_kept_and_forgotten_ones_come_out_the_same(
    model: TextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = sentences(9, seed=3, most=4)
    row = np.zeros((1 + MAX_LENGTH, 16), np.float32).nbytes
    monkeypatch.setattr(prompt_reader, "_KEPT_BYTES", 3 * row)
    reader = open_prompt_reader(model.condition)
    encoded: list[str] = []
    conditions = reader._encoder.conditions

    def watched(asked: list[str]) -> np.ndarray:
        encoded.extend(asked)
        return conditions(asked)

    monkeypatch.setattr(reader._encoder, "conditions", watched)
    whole = reader.conditions(texts)
    assert encoded == list(dict.fromkeys(texts))
    encoded.clear()
    assert np.array_equal(reader.conditions(texts[-2:]), whole[-2:])
    assert encoded == []
    assert np.array_equal(reader.conditions(texts[:1]), whole[:1])
    assert encoded == texts[:1]
    assert len(reader._kept) == 3


def test_prompts_that_are_cut_are_named_and_those_that_fit_are_not(reader: PromptReader) -> None:
    just = "a small red circle"  # with its marks of start and end as many as are taken
    assert reader.cut([just, LONG, "-", "cat"]) == [LONG]
    told = reader.notice(1, LONG)
    assert f"longer than {MAX_LENGTH} tokens" in told
    assert "'a small red circle above" in told
    assert reader.cut(["-"]) == []


def test_a_model_of_pictures_embeddings_and_another_encoder_are_told(
    model: TextModel, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no sentence gives"):
        open_prompt_reader(ConditionSpec("embedding", 16))
    other = tiny_bert(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="another text encoder"):
        open_prompt_reader(model.condition, str(other))
    with pytest.raises(UserError, match=r"no text encoder|--text-encoder"):
        open_prompt_reader(model.condition, str(tmp_path / "nowhere"))
