"""`generate` by a decoder: variations of a picture, ways between two, differences of texts."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_this_process import generate_here
from PIL import Image
from small_stack import small_stack
from tiny_encoders import tiny_bert

from jobs.generate import COMMAND, main
from jobs.generate.config import GenerateConfig
from jobs.verify import COMMAND as VERIFY
from pipeline.conditions import embedded_condition
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.output import read_json, write_json
from pipeline.formats.sample_set import condition_hashes, iterate_samples, open_sample_set
from pipeline.formats.seal import sealed
from pipeline.formats.shard import images_of
from pipeline.networks.picture_encoder import PictureEncoderNetwork, PictureEncoderShape
from pipeline.picture_encoder import PictureEncoder, save_picture_encoder
from pipeline.sampling import sample
from pipeline.sampling.sphere import slerp, towards
from pipeline.stack import Stack, save_stack
from pipeline.text.encoder import TextEncoder

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
SEED = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder, its picture encoder and another, the text encoder, and pictures."""
    path = tmp_path_factory.mktemp("vectors")
    texts = TextEncoder.load(tiny_bert(path / "texts"), max_length=8)
    for seed, name in enumerate(("encoder", "other")):
        torch.manual_seed(seed)
        shape = PictureEncoderShape(8, 8, 1, texts.id.width, (8,))
        save_picture_encoder(path / name, PictureEncoderNetwork(shape), texts.id, {})
    condition = embedded_condition("embedding", PictureEncoder.load(path / "encoder").id)
    save_stack(small_stack(classes=(), condition=condition), {}, path / "model", {})
    save_stack(small_stack(), {}, path / "of_labels", {})
    of_texts = embedded_condition("text", texts.id)
    save_stack(small_stack(classes=(), condition=of_texts, attends=(1,)), {}, path / "of_texts", {})
    for name, picture in zip("ab", PICTURES, strict=True):
        Image.fromarray(picture[:, :, 0]).save(path / f"{name}.png")
    Image.fromarray(PICTURES[0, :4, :, 0]).save(path / "small.png")
    return path


def vectors(folder: Path) -> np.ndarray:
    return PictureEncoder.load(folder / "encoder").encode(PICTURES)


def made(folder: Path, output: Path, **changes: Any) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patched:
        generate_here(patched)
        values = {"seed": SEED, "rows_per_shard": 4, **changes}
        main(GenerateConfig(model=folder / "model", output=output, **values))
    tables = list(iterate_samples(open_sample_set(output)))
    return np.concatenate([images_of(table) for table in tables])


def drawn(folder: Path, conditions: np.ndarray) -> np.ndarray:
    num = len(conditions)
    return sample(
        Stack.load(folder / "model"), np.full(num, SEED), np.arange(num), conditions.copy()
    )


def test_variations_are_samples_on_the_vector_that_the_encoder_gives_the_picture(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = made(folder, tmp_path / "set", variation_of=folder / "a.png", count=6)
    expected = drawn(folder, np.repeat(vectors(folder)[:1], 6, axis=0))
    assert np.array_equal(images, expected)
    assert VERIFY.run([str(tmp_path / "set")], prog="verify") == 0
    assert "ok: sample set, 6 rows" in capsys.readouterr().out


def test_a_way_between_two_pictures_has_a_sample_a_position_and_verify_knows_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = (folder / "a.png", folder / "b.png")
    images = made(folder, tmp_path / "set", interpolate=pictures, positions=5)
    way = slerp(*vectors(folder), np.linspace(0, 1, 5))
    assert np.array_equal(images, drawn(folder, way))
    manifest = read_json(tmp_path / "set" / "manifest.json")
    assert manifest["origin"]["vectors"]["condition_sha256"] == condition_hashes(way)
    manifest["origin"]["vectors"]["condition_sha256"].reverse()
    body = {key: value for key, value in manifest.items() if key not in ("format", "seal")}
    write_json(tmp_path / "set" / "manifest.json", sealed(body))
    assert VERIFY.run([str(tmp_path / "set")], prog="verify") == 1
    told = capsys.readouterr().out
    assert told.count("condition_sha256 is not what the manifest's rule gives it") == 4


def test_a_difference_of_texts_turns_the_pictures_vector(folder: Path, tmp_path: Path) -> None:
    flags = {"towards": "a sleeping cat", "away_from": "a cat", "turn": 0.4, "positions": 3}
    images = made(folder, tmp_path / "set", variation_of=folder / "a.png", **flags)
    texts = TextEncoder.load(folder / "texts", max_length=8)
    of_texts = texts.conditions(["a sleeping cat", "a cat"])[:, 0]
    way = towards(vectors(folder)[0], of_texts[0], of_texts[1], np.linspace(0, 0.4, 3))
    assert np.array_equal(images, drawn(folder, way))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--model of_labels --variation-of a.png", "--variation-of: the model is not drawn on emb"),
        ("--model of_texts --interpolate a.png,b.png", "--interpolate: the model is not drawn on"),
        ("--model model --variation-of small.png", "small.png is 4x8, and the picture encoder tak"),
        ("--model model --variation-of no.png", "no.png cannot be read (No such file"),
        (
            "--model model --variation-of a.png --picture-encoder other",
            "is another picture encoder",
        ),
        ("--model model --variation-of a.png --picture-encoder texts", "texts"),
        ("--model model --interpolate a.png", "--interpolate"),
        (
            "--model model --variation-of a.png --towards x",
            "--towards and --away-from are given tog",
        ),
        ("--model model --towards x --away-from y", "--towards starts at a picture"),
        ("--model model --variation-of a.png --turn 0.4", "--turn is about --towards"),
        ("--model model --variation-of a.png --positions 4", "--positions is about --interpolate"),
        ("--model model --prompts x --variation-of a.png", "each say what is drawn; give one"),
        (
            "--model model --variation-of a.png --towards cat --away-from cat",
            "the difference of th",
        ),
        ("--model model --prompts x", "embeddings by"),
        ("--model model --picture-encoder encoder", "--picture-encoder reads a picture"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    told: str,
) -> None:
    monkeypatch.chdir(folder)
    assert COMMAND.run([*flags.split(), "--output", str(tmp_path / "set")], prog="generate") == 2
    captured = capsys.readouterr().err
    assert captured.startswith("error: ")
    assert told in captured
    assert captured.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_a_model_whose_encoder_is_gone_says_which_and_how_to_name_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(folder / "encoder", tmp_path / "moved")
    gone = asdict(PictureEncoder.load(folder / "encoder").id) | {"name": str(tmp_path / "gone")}
    condition = embedded_condition("embedding", EncoderId(**gone))
    save_stack(small_stack(classes=(), condition=condition), {}, tmp_path / "model", {})
    arguments = ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "set")]
    arguments += ["--variation-of", str(folder / "a.png"), "--count", "2"]
    assert COMMAND.run(arguments, prog="generate") == 2
    assert "gone is needed" in (error := capsys.readouterr().err)
    assert "name it with --picture-encoder" in error
    with pytest.MonkeyPatch.context() as patched:
        generate_here(patched)
        arguments += ["--picture-encoder", str(moved)]
        assert COMMAND.run(arguments, prog="generate") == 0
