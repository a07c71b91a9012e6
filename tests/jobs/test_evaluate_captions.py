"""The job `evaluate` with a picture encoder: known figures, and judges that are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from digit_captions import NAMES, TEXTS, NameEncoder, fitted_network, texts_of
from digit_set import CLASSES, digits
from small_stack import SPEC, small_stack

from jobs.evaluate import main
from jobs.evaluate.config import EvaluateConfig
from pipeline.conditions import ConditionSpec
from pipeline.errors import UserError
from pipeline.evaluation.retrieval import Captions, retrieval
from pipeline.formats.dataset import dataset_table, write_dataset_info
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.output import read_json
from pipeline.formats.sample_set import sample_table, write_manifest
from pipeline.formats.shard import write_shard
from pipeline.networks.picture_encoder import PictureEncoderNetwork, PictureEncoderShape
from pipeline.picture_encoder import PictureEncoder, save_picture_encoder
from pipeline.stack import save_stack
from pipeline.verification.directory import verify_directory
from pipeline.verification.evaluation_check import EVALUATION_FILE

NUM_TEST = 80


@pytest.fixture(autouse=True)
def _names_are_encoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def encoder_for(wanted: EncoderId, given: str | None) -> NameEncoder:
        assert wanted == TEXTS
        return NameEncoder()

    monkeypatch.setattr("jobs.evaluate.captions.encoder_for", encoder_for)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits with captions, of which no training picture shows a nine, and the judge."""
    path = tmp_path_factory.mktemp("inputs")
    images, labels = digits()
    splits = {}
    for split, rows in (("train", np.arange(100)), ("test", np.arange(len(labels))[-NUM_TEST:])):
        names = [NAMES[label] for label in labels[rows]]
        table = dataset_table([f"d{i}" for i in rows], images[rows], labels[rows], names)
        splits[split] = [write_shard(table, path / "digits", f"{split}.parquet")]
    write_dataset_info(
        path / "digits",
        shape=(8, 8, 1),
        classes=CLASSES,
        splits=splits,
        has_captions=True,
        origin={},
    )
    save_picture_encoder(path / "judge", fitted_network(), TEXTS, {})
    return path


def write_samples(
    path: Path, images: np.ndarray, captions: list[str | None] | None, **origin: object
) -> Path:
    rows, none = np.arange(len(images)), np.full(len(images), -1)
    texts = None if captions is None else pa.array(captions, pa.string())
    shard = write_shard(sample_table(0, rows, none, images, texts), path, "part-00000.parquet")
    write_manifest(path, shape=images.shape[1:], classes=(), shards=[shard], origin=origin)
    return path


def evaluate(inputs: Path, samples: Path, output: Path, **changes: Any) -> dict[str, Any]:
    values = {
        "samples": samples,
        "dataset": inputs / "digits",
        "picture_encoder": inputs / "judge",
        "output": output,
        **changes,
    }
    return main(EvaluateConfig(**values))


def test_the_test_pictures_themselves_reach_the_ceiling(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = (part[-NUM_TEST:] for part in digits())
    captions: list[str | None] = [NAMES[label] for label in labels]
    blank = np.zeros((3, 8, 8, 1), np.uint8)  # drawn on nothing: not asked for
    samples = write_samples(
        tmp_path / "samples", np.concatenate((images, blank)), [*captions, None, "<none>", "-"]
    )
    result = evaluate(inputs, samples, tmp_path / "out")
    found = result["retrieval"]
    texts = texts_of(labels)
    judge = PictureEncoder.load(inputs / "judge")
    expected = retrieval(judge.encode(images), texts, Captions(texts), seed=0)
    assert found["samples"] == found["real"] == expected.to_json()
    assert found["judge_sha256"] == judge.sha256
    assert expected.num_pictures == NUM_TEST
    assert expected.recall[1].rate > 0.8
    assert result["agreement"] is result["frechet"] is None  # no classifier was given
    said = capsys.readouterr().out
    assert f"captions: samples R@1 {expected.recall[1].rate:.1%}" in said
    assert "the ceiling, real test pictures R@1" in said
    assert "Fréchet" not in said
    assert verify_directory(tmp_path / "out").faults.lines() == []
    file = tmp_path / "out" / EVALUATION_FILE
    stored = read_json(file)
    stored["retrieval"]["samples"]["recall"]["5"]["low95"] = 0.1
    file.write_text(json.dumps(stored))
    assert any("R@5" in line for line in verify_directory(tmp_path / "out").faults.lines())


def test_the_ceiling_is_that_of_the_prompted_captions_among_all(
    inputs: Path, tmp_path: Path
) -> None:
    """Pictures of eights that were asked to be threes, beside the threes of the split."""
    images, labels = (part[-NUM_TEST:] for part in digits())
    eights, threes = images[labels == 8], images[labels == 3]
    samples = write_samples(tmp_path / "samples", eights, ["three"] * len(eights))
    found = evaluate(inputs, samples, tmp_path / "out")["retrieval"]
    judge, texts = PictureEncoder.load(inputs / "judge"), texts_of(np.arange(10))
    for side, pictures in (("samples", eights), ("real", threes)):
        own = np.repeat(texts[3:4], len(pictures), axis=0)
        expected = retrieval(judge.encode(pictures), own, Captions(texts), seed=0)
        assert found[side] == expected.to_json()
    assert found["samples"]["recall"]["1"]["rate"] < 0.3
    assert found["real"]["recall"]["1"]["rate"] > 0.7
    assert found["samples"]["num_captions"] == 10


def test_without_a_real_picture_of_a_prompt_there_is_no_ceiling_and_that_is_said(
    inputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vector = np.full(12, 12**-0.5, np.float16)

    def encode(self: NameEncoder, texts: list[str]) -> Any:
        known = [NAMES.index(text) if text in NAMES else 0 for text in texts]
        pooled = texts_of(np.array(known))
        pooled[[text not in NAMES for text in texts]] = vector
        return type("", (), {"pooled": pooled})

    monkeypatch.setattr(NameEncoder, "encode", encode)
    samples = write_samples(tmp_path / "samples", digits()[0][:4], ["eleven"] * 4)
    found = evaluate(inputs, samples, tmp_path / "out")["retrieval"]
    assert found["real"] is None
    assert found["samples"]["num_captions"] == 11
    assert "no picture of test has one of the prompts, so there is no ceiling" in (
        capsys.readouterr().out
    )
    assert verify_directory(tmp_path / "out").faults.lines() == []


def test_the_generators_own_encoder_is_no_judge(inputs: Path, tmp_path: Path) -> None:
    judge = PictureEncoder.load(inputs / "judge")
    images = digits()[0][:4]
    condition = ConditionSpec("embedding", 12, encoder=replace(judge.id, name="elsewhere"))
    by_set = write_samples(tmp_path / "by set", images, ["one"] * 4, condition=condition.to_json())
    with pytest.raises(UserError, match="is no judge of it; train another with another seed"):
        evaluate(inputs, by_set, tmp_path / "out")
    stack = type(small_stack())(replace(SPEC, classes=(), condition=condition)).eval()
    sha256 = save_stack(stack, {}, tmp_path / "model", {})
    by_model = write_samples(tmp_path / "by model", images, ["one"] * 4, model_sha256=sha256)
    with pytest.raises(UserError, match="is no judge of it"):
        evaluate(inputs, by_model, tmp_path / "out", model=tmp_path / "model")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_judged_is_refused(inputs: Path, tmp_path: Path) -> None:
    images = digits()[0][:4]
    bare = write_samples(tmp_path / "bare", images, None)
    with pytest.raises(UserError, match="carries no prompts"):
        evaluate(inputs, bare, tmp_path / "out")
    large = PictureEncoderNetwork(PictureEncoderShape(16, 16, 1, 12, (8,)))
    save_picture_encoder(tmp_path / "large", large, TEXTS, {})
    with pytest.raises(UserError, match=r"is for pictures of 16x16x1, and those of .* are 8x8x1"):
        evaluate(inputs, bare, tmp_path / "out", picture_encoder=tmp_path / "large")
    with pytest.raises(ValueError, match="classifier or picture_encoder is needed"):
        evaluate(inputs, bare, tmp_path / "out", picture_encoder=None)
    with pytest.raises(ValueError, match="give picture_encoder as well"):
        evaluate(
            inputs, bare, tmp_path / "out", picture_encoder=None, classifier="c", text_encoder="t"
        )
