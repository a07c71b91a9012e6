"""`generate --inpaint`: what `inpaint` draws, the picture with the set, and mistakes told first."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from in_this_process import generate_here
from PIL import Image
from small_stack import small_stack

from jobs.generate import COMMAND, main
from jobs.generate.config import GenerateConfig
from jobs.verify import COMMAND as VERIFY
from pipeline.errors import UserError
from pipeline.formats.output import read_json, sha256_of_file, write_json
from pipeline.formats.sample_set import content_hash, iterate_samples, open_sample_set
from pipeline.formats.seal import sealed
from pipeline.formats.shard import image_column, images_of, labels_of, shards_from_json
from pipeline.sampling import SamplingOptions
from pipeline.sampling.inpainting import inpaint
from pipeline.stack import Stack, save_stack

PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
KNOWN = np.add.outer(np.arange(8), np.arange(8)) < 7
COUNT, SEED = 10, 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a picture and a mask, a picture that is transparent itself, and a small one."""
    path = tmp_path_factory.mktemp("inpainting")
    save_stack(small_stack(), {}, path / "model", {})
    alpha = np.where(KNOWN, 255, 0).astype(np.uint8)
    Image.fromarray(PICTURE).save(path / "picture.png")
    Image.fromarray(np.dstack((255 - PICTURE, alpha)), "LA").save(path / "mask.png")
    Image.fromarray(np.dstack((PICTURE, alpha)), "LA").save(path / "both.png")
    Image.fromarray(PICTURE[:4]).save(path / "small.png")
    return path


def config(folder: Path, output: Path, **changes: Any) -> GenerateConfig:
    values = {"count": COUNT, "seed": SEED, "rows_per_shard": 4, "resample": 2, **changes}
    values["inpaint"] = folder / values.get("inpaint", "both.png")
    return GenerateConfig(model=folder / "model", output=output, **values)


@pytest.fixture(scope="module")
def made(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        generate_here(patched)
        return main(config(folder, folder / "set", sampler="ddim"))


def test_a_set_holds_what_inpaint_draws_around_the_picture(folder: Path, made: Path) -> None:
    tables = list(iterate_samples(opened := open_sample_set(made)))
    images = np.concatenate([images_of(table) for table in tables])
    labels = np.concatenate([labels_of(table) for table in tables])
    stack, keys = Stack.load(folder / "model"), (np.full(COUNT, SEED), np.arange(COUNT))
    expected = inpaint(
        stack,
        *keys,
        labels,
        np.broadcast_to(PICTURE[:, :, None], (COUNT, 8, 8, 1)),
        np.broadcast_to(KNOWN, (COUNT, 8, 8)),
        SamplingOptions(sampler="ddim"),
        resample=2,
    )
    assert np.array_equal(images, expected)
    assert (images[:, KNOWN, 0] == PICTURE[KNOWN]).all()
    assert opened.origin["inpainting"]["resample"] == 2


@pytest.mark.usefixtures("made")
def test_the_picture_decides_the_set_whatever_file_it_came_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate_here(monkeypatch)
    same = config(
        folder, folder / "set", sampler="ddim", inpaint="picture.png", mask=folder / "mask.png"
    )
    assert main(same) == folder / "set"
    for other in (
        {"resample": 3},
        {"moment_steps": 1},
        {"mask": folder / "both.png", "inpaint": "mask.png"},
    ):
        with pytest.raises(UserError, match="holds the results of another config"):
            main(config(folder, folder / "set", sampler="ddim", **other))


def verified(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    code = VERIFY.run([str(path)], prog="verify")
    printed = capsys.readouterr().out
    assert (code == 0) is printed.startswith("ok: sample set")
    return printed


def test_verify_holds_every_sample_against_the_known_pixels(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verified(made, capsys).startswith("ok: sample set, 10 rows in 3 shards")
    forged = shutil.copytree(made, tmp_path / "forged")
    shard = forged / "part-00001.parquet"
    table = pq.read_table(shard)
    images = images_of(table).copy()
    images[2, 0, 0, 0] ^= 1  # a known pixel, by one level
    images[3, 7, 7, 0] ^= 1  # one that was drawn: nobody but the maker can tell
    at = table.schema.get_field_index("image")
    pq.write_table(table.set_column(at, table.field(at), image_column(images)), shard)
    manifest = read_json(forged / "manifest.json")
    entry = manifest["shards"][1]
    entry["sha256"], entry["num_bytes"] = sha256_of_file(shard), shard.stat().st_size
    shards = shards_from_json(manifest["shards"], shard)
    manifest["content_sha256"] = content_hash(shards)
    body = {key: value for key, value in manifest.items() if key not in ("format", "seal")}
    write_json(forged / "manifest.json", sealed(body))
    told = verified(forged, capsys)
    assert "part-00001.parquet: row 2: a known pixel is not the one of known.png" in told
    assert told.count("a known pixel") == 1


def test_verify_misses_the_picture_and_knows_another(
    folder: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(made, tmp_path / "copy")
    shutil.copy(folder / "mask.png", copy / "known.png")
    assert "known.png is not the picture that the manifest names" in verified(copy, capsys)
    (copy / "known.png").unlink()
    assert "known.png cannot be read" in verified(copy, capsys)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--inpaint nowhere.png", "nowhere.png cannot be read (No such file or directory)"),
        ("--inpaint picture.png", "picture.png has no transparent pixel; make transparent what"),
        ("--inpaint small.png --mask mask.png", "small.png is 4x8, and the model draws 8x8"),
        ("--inpaint picture.png --mask small.png", "small.png is 4x8, and the model draws 8x8"),
        ("--inpaint both.png --sampler dpmpp_2m", "the sampler dpmpp_2m goes on from the layer"),
        ("--inpaint both.png --resample 0", "--resample"),
        ("--inpaint both.png --pools stages", "--inpaint goes back across the stages"),
        ("--moment-steps 3", "--moment-steps is about --inpaint; give that too"),
        ("--mask mask.png", "--mask is about --inpaint; give that too"),
        ("--resample 3", "--resample is about --inpaint; give that too"),
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
    arguments = ["--model", "model", "--output", str(tmp_path / "set"), *flags.split()]
    assert COMMAND.run(arguments, prog="generate") == 2
    captured = capsys.readouterr().err
    assert captured.startswith("error: ")
    assert told in captured
    assert captured.count("\n") == 1
    assert not (tmp_path / "set").exists()
