"""`ns.load_stack` of a model that takes sentences: the job's samples; what it does not take."""

from pathlib import Path

import numpy as np
import pytest
from in_this_process import generate_here
from text_model import TextModel, text_model

import noisestack as ns
from jobs.generate import main
from jobs.generate.config import GenerateConfig
from pipeline.errors import UserError
from pipeline.formats.sample_set import iterate_samples, open_sample_set
from pipeline.formats.shard import images_of

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return text_model(tmp_path_factory.mktemp("face"))


def test_sentences_get_the_pictures_of_the_job(
    model: TextModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate_here(monkeypatch)
    prompts = ("a red circle", "two dogs", "-")
    main(
        GenerateConfig(model=model.path, output=tmp_path / "set", prompts=prompts, count=4, seed=3)
    )
    (table,) = iterate_samples(open_sample_set(tmp_path / "set"))
    stack = ns.load_stack(model.path, text_encoder=model.encoder)
    found = stack.sample(["a red circle", "two dogs", None], seed=3, count=4)
    np.testing.assert_array_equal(found, images_of(table))
    vectors = model.load_encoder().conditions(["a red circle"])
    np.testing.assert_array_equal(stack.sample(vectors[0], seed=3), found[:1])
    levels = stack.trajectory("a red circle", seed=3)
    np.testing.assert_array_equal(levels[-1].images, found[:1])


def test_the_bound_is_given_a_sentence_or_none(model: TextModel) -> None:
    stack = ns.load_stack(model.path)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    bits = [
        stack.bits_per_dim(pictures, c, layers=4).mean
        for c in ("a cat", ["a cat", "a cat"], None, "-")
    ]
    assert bits[0] == bits[1] != bits[2] == bits[3]


def test_a_sentence_that_is_cut_is_warned_of(model: TextModel) -> None:
    stack = ns.load_stack(model.path)
    with pytest.warns(UserWarning, match="longer than 6 tokens"):
        stack.sample("a small red circle above a large blue square")


def test_what_is_no_sentence_is_told(model: TextModel) -> None:
    stack = ns.load_stack(model.path)
    for given, told in (
        (None, "no classes to draw in turn"),
        (3, "give texts"),
        (["a cat", " "], "none of them empty"),
        ([], "give texts"),
        (np.zeros((2, 5)), r"the stack takes \(7, 16\) a row"),
    ):
        with pytest.raises(UserError, match=told):
            stack.sample(given)
    with pytest.raises(UserError, match="no text encoder"):
        ns.load_stack(model.path, text_encoder="nowhere").sample("a cat")
