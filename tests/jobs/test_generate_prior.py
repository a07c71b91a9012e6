"""`generate` by a prior and a decoder: a sentence, the vector of its picture, the picture."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_this_process import generate_here
from small_stack import prior_spec, random_weights, small_stack
from tiny_encoders import tiny_bert

from jobs.generate import COMMAND, main
from jobs.generate.config import GenerateConfig
from jobs.verify import COMMAND as VERIFY
from pipeline.conditions import embedded_condition
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.sample_set import condition_hashes, iterate_samples, open_sample_set
from pipeline.formats.shard import images_of
from pipeline.sampling import sample
from pipeline.sampling.vectors import sample_vectors
from pipeline.stack import PRIOR, Stack, save_stack
from pipeline.text.encoder import TextEncoder

SEED = 11
PROMPTS = ("a red circle", "a blue square", "<none>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior, a decoder for its vectors, one for others, and the text encoder."""
    path = tmp_path_factory.mktemp("prior")
    texts = TextEncoder.load(tiny_bert(path / "texts"), max_length=8)
    pictures = EncoderId("pictures", "3" * 64, "", 0, "picture", texts.id.width)
    decoder = embedded_condition("embedding", pictures)
    save_stack(small_stack(classes=(), condition=decoder), {}, path / "decoder", {})
    other = embedded_condition("embedding", replace(pictures, sha256="4" * 64))
    save_stack(small_stack(classes=(), condition=other), {}, path / "other", {})
    condition = embedded_condition("text", texts.id)
    save_stack(small_stack(classes=(), condition=condition), {}, path / "of_texts", {})
    spec = prior_spec(condition, texts.id.width, vectors=pictures, attends=(0,))
    save_stack(random_weights(Stack(spec)), {}, path / "prior", {})
    return path


def config(folder: Path, output: Path, **changes: Any) -> GenerateConfig:
    values: dict[str, Any] = {
        "model": folder / "decoder",
        "output": output,
        "prior": folder / "prior",
        "prompts": PROMPTS,
        "count": 7,
        "seed": SEED,
        "rows_per_shard": 4,
    }
    return GenerateConfig(**{**values, **changes})


def expected(folder: Path, best_of: int) -> tuple[np.ndarray, np.ndarray]:
    """The pictures by hand, and the conditions of the sentences."""
    encoder = TextEncoder.load(folder / "texts", max_length=8)
    texts = encoder.conditions(PROMPTS[:2])
    texts = np.concatenate([texts, np.zeros_like(texts[:1])])[np.arange(7) % 3]
    seeds, indices = np.full(7, SEED), np.arange(7)
    prior, decoder = Stack.load(folder / "prior", kind=PRIOR), Stack.load(folder / "decoder")
    drawn = sample_vectors(prior, seeds, indices, texts, best_of=best_of)
    drawn = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    drawn[np.arange(7) % 3 == 2] = 0  # no condition is none for the decoder either
    return sample(decoder, seeds, indices, drawn), texts


@pytest.mark.parametrize(("candidates", "pools"), [(None, "whole"), (1, "stages")])
def test_samples_are_drawn_on_the_vectors_that_the_prior_draws_on_their_sentences(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    candidates: int | None,
    pools: str,
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        generate_here(patched)
        main(config(folder, tmp_path / "set", prior_candidates=candidates, pools=pools))
    tables = list(iterate_samples(open_sample_set(tmp_path / "set")))
    images, texts = expected(folder, candidates or 2)
    assert np.array_equal(np.concatenate([images_of(table) for table in tables]), images)
    hashes = [text for table in tables for text in table.column("condition_sha256").to_pylist()]
    assert hashes == condition_hashes(texts)  # of the sentences, which anyone can embed again
    origin = open_sample_set(tmp_path / "set").origin
    assert origin["prior"] == {
        "sha256": Stack.load(folder / "prior", kind=PRIOR).sha256,
        "best_of": candidates or 2,
    }
    arguments = [str(tmp_path / "set"), "--text-encoder", str(folder / "texts")]
    assert VERIFY.run(arguments, prog="verify") == 0
    assert "ok: sample set, 7 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"model": "other"}, "gives the vectors of pictures (333333333333…), and the model was"),
        ({"model": "of_texts"}, "--prior: the model is not drawn on embeddings of pictures"),
        ({"prior": "decoder"}, "holds a stack, not a prior; give the path of a prior"),
        ({"prior": None}, "put a prior of train-prior before it (--prior)"),
        ({"prompts": None}, "--prior makes embeddings of prompts; give --prompts, too"),
        (
            {"prior": None, "prior-candidates": "3"},
            "--prior-candidates is about --prior; give that too",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line_before_anything_is_written(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: dict[str, str | None],
    line: str,
) -> None:
    values = {"model": "decoder", "prior": "prior", "prompts": "a cat", **flags}
    arguments = ["--output", str(tmp_path / "set")]
    for key, value in values.items():
        if value is not None:
            path = key in ("model", "prior")
            arguments += [f"--{key}", str(folder / value) if path else value]
    assert COMMAND.run(arguments, prog="generate") == 2
    told = capsys.readouterr().err
    assert line in told
    assert not (tmp_path / "set").exists()
