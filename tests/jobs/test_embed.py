"""`embed`: an embedding set of a dataset's captions, whole, resumed, checked, and refused."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from captioned_set import write_captioned
from digit_captions import TEXTS, fitted_network
from in_this_process import in_this_process
from tiny_encoders import sentences, tiny_bert

from jobs import embed
from noisestack.__main__ import main as noisestack
from pipeline.errors import UserError
from pipeline.formats.dataset import images_of, iterate_shards, load_dataset
from pipeline.formats.embedding_rows import write_embeddings
from pipeline.formats.embedding_set import (
    content_hash,
    open_embedding_set,
    read_embedding_manifest,
    read_embeddings,
    shards_to_embed,
)
from pipeline.formats.output import read_json, sha256_of_file, write_json
from pipeline.formats.seal import sealed
from pipeline.picture_embedder import PictureEmbedder
from pipeline.picture_encoder import PictureEncoder, save_picture_encoder
from pipeline.text.embedder import CaptionEmbedder
from pipeline.text.encoder import TextEncoder

LENGTH = 9
TRAIN, TEST = [*sentences(10, seed=1, most=6), "cat " * 12], sentences(3, seed=2, most=6)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, a tiny encoder, and the whole set that the job makes of them."""
    path = tmp_path_factory.mktemp("embed")
    write_captioned(path / "dataset", {"train": TRAIN, "test": TEST})
    tiny_bert(path / "bert")
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        embed.main(config(path, path / "set"))
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    without_ray(monkeypatch)


def without_ray(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(embed, "run_shards", in_this_process)
    patch.setattr(embed, "ray_session", contextlib.nullcontext)


def config(inputs: Path, output: Path, **changes: Any) -> embed.EmbedConfig:
    keys: dict[str, Any] = {
        "dataset": inputs / "dataset",
        "output": output,
        "text_encoder": str(inputs / "bert"),
        "max_length": LENGTH,
        **changes,
    }
    return embed.EmbedConfig(**keys)


def hashes(path: Path) -> dict[str, str]:
    return {f.name: sha256_of_file(f) for f in path.iterdir() if f.is_file()}


def test_each_row_has_the_embedding_of_its_caption_in_the_datasets_order(inputs: Path) -> None:
    opened = open_embedding_set(inputs / "set")
    encoder = TextEncoder.load(inputs / "bert", max_length=LENGTH)
    assert opened.encoder == encoder.id
    for split, texts in (("train", TRAIN), ("test", TEST)):
        read = [read_embeddings(opened, split, n) for n in range(len(opened.splits[split]))]
        assert [i for ids, _ in read for i in ids] == [f"{split}-{n}" for n in range(len(texts))]
        found = np.concatenate([values for _, values in read]).astype(np.float32)
        np.testing.assert_array_equal(found, encoder.conditions(texts))


def test_the_bytes_are_those_of_any_other_way_to_cut_the_rows(
    inputs: Path, tmp_path: Path, here: None
) -> None:
    """A dataset in one shard: the stored values are those of one in several."""
    write_captioned(tmp_path / "dataset", {"train": TRAIN, "test": TEST}, shard_rows=100)
    embed.main(config(inputs, tmp_path / "one", dataset=tmp_path / "dataset"))
    one, many = open_embedding_set(tmp_path / "one"), open_embedding_set(inputs / "set")
    whole = read_embeddings(one, "train", 0)[1]
    parts = [read_embeddings(many, "train", n)[1] for n in range(len(many.splits["train"]))]
    assert len(parts) == 3
    assert whole.tobytes() == np.concatenate(parts).tobytes()


def test_a_set_that_was_cut_off_is_finished_to_the_same_bytes(
    inputs: Path, tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(inputs / "set", tmp_path / "set")
    due = hashes(inputs / "set")
    for lost in ("manifest.json", "train-00001.parquet"):
        (tmp_path / "set" / lost).unlink()
    embed.main(config(inputs, tmp_path / "set"))
    assert hashes(tmp_path / "set") == due
    capsys.readouterr()
    embed.main(config(inputs, tmp_path / "set"))
    assert "(finished before)" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"results of another config .*max_length is 9 there"):
        embed.main(config(inputs, tmp_path / "set", max_length=8))


def test_what_was_cut_is_told_and_counted(
    inputs: Path, tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    embed.main(config(inputs, tmp_path / "set", splits=("train",)))
    said = capsys.readouterr().out
    assert "1 text was longer than 9 tokens, and the rest was left out: row 10 of train, 'cat" in (
        said
    )
    opened = open_embedding_set(tmp_path / "set")
    assert (opened.num_cut, list(opened.splits)) == (1, ["train"])


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["cat", None, ""], r"caption of row 1 of .*/dataset, split train, is empty; give it"),
        (["cat"] * 5 + [" \n"], r"caption of row 5 of .*/dataset, split train, is empty"),
    ],
)
def test_the_first_row_without_a_caption_is_named_before_anything_is_made(
    texts: list[str | None], said: str, inputs: Path, tmp_path: Path, here: None
) -> None:
    write_captioned(tmp_path / "dataset", {"train": texts})
    with pytest.raises(UserError, match=said):
        embed.main(config(inputs, tmp_path / "set", dataset=tmp_path / "dataset"))
    assert not (tmp_path / "set").exists()


def test_a_caption_without_a_word_that_the_encoder_knows_is_named(
    tmp_path: Path, minilm: TextEncoder
) -> None:
    info = write_captioned(tmp_path / "dataset", {"train": ["cat"] * 5 + ["\u200b"]})
    worker = CaptionEmbedder(dataset=info.path, encoder=minilm.id, output=tmp_path / "set")
    with pytest.raises(UserError, match=r"caption of row 5 of .*, split train, \('\\u200b'\) has"):
        worker(shards_to_embed(info, ["train"])[1])


def test_another_encoder_on_another_node_is_refused(inputs: Path, tmp_path: Path) -> None:
    found = TextEncoder.load(inputs / "bert", max_length=LENGTH).id
    shutil.copytree(inputs / "bert", tmp_path / "bert")
    changed = TextEncoder.load(tiny_bert(tmp_path / "bert", seed=5), max_length=LENGTH).id
    assert not found.same_as(changed)
    shutil.rmtree(tmp_path / "bert")
    shutil.copytree(inputs / "bert", tmp_path / "bert")
    with pytest.raises(UserError, match="another text encoder"):
        CaptionEmbedder(dataset=inputs / "dataset", encoder=changed, output=tmp_path)


def test_verify_praises_it_alone_and_beside_dataset_and_encoder(
    inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert noisestack(["verify", str(inputs / "set")]) == 0
    assert capsys.readouterr().out == "ok: embedding set, 14 rows in 4 shards\n"
    beside = ["--dataset", str(inputs / "dataset"), "--text-encoder", str(inputs / "bert")]
    assert noisestack(["verify", str(inputs / "set"), *beside[:2]]) == 0
    assert capsys.readouterr().out.endswith("; they are the dataset's\n")
    assert noisestack(["verify", str(inputs / "set"), *beside, "--redraw", "20"]) == 0
    assert capsys.readouterr().out.endswith(
        "; they are the dataset's, and 14 were embedded again, 14 of them to the same bits\n"
    )


def rewritten(path: Path, file: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Changes a file's rows, and the manifest so that hashes and seal hold."""
    table = change(pq.read_table(path / file))
    entry = asdict(write_embeddings(table, path, file))
    stored = read_json(path / "manifest.json")
    stored.pop("manifest_sha256")
    for entries in stored["splits"].values():
        for number, old in enumerate(entries):
            if old["file"] == file:
                entries[number] = entry
    write_json(path / "manifest.json", stored)
    opened = read_embedding_manifest(path)
    stored["content_sha256"] = content_hash(opened.dataset_sha256, opened.encoder, opened.splits)
    write_json(path / "manifest.json", sealed(stored))


def turned(table: pa.Table) -> pa.Table:
    """The rows' embeddings in the opposite order, under the old ids."""
    back = table.take(list(range(table.num_rows))[::-1])
    return back.set_column(0, "id", table.column("id"))


def doubled(table: pa.Table) -> pa.Table:
    kind = table.schema.field("pooled").type
    values = [[2 * v for v in row] for row in table.column("pooled").to_pylist()]
    return table.set_column(2, "pooled", pa.array(values, kind))


def other_ids(table: pa.Table) -> pa.Table:
    ids = [f"{name}x" for name in table.column("id").to_pylist()]
    return table.set_column(0, "id", pa.array(ids, pa.string()))


def test_verify_tells_what_is_wrong(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def faults(change: Callable[[pa.Table], pa.Table], *flags: str) -> str:
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        shutil.copytree(inputs / "set", tmp_path / "set")
        rewritten(tmp_path / "set", "train-00001.parquet", change)
        capsys.readouterr()
        assert noisestack(["verify", str(tmp_path / "set"), *flags]) == 1
        return capsys.readouterr().out

    dataset = ("--dataset", str(inputs / "dataset"))
    encoder = ("--text-encoder", str(inputs / "bert"), "--redraw", "14")
    said = faults(doubled)
    assert "train-00001.parquet: row 0: pooled is no vector of length 1" in said
    assert "id 'train-4x' where the dataset has 'train-4'" in faults(other_ids, *dataset)
    said = faults(turned, *dataset, *encoder)
    assert "train-00001.parquet: row 0: id 'train-4' is not what its caption gives" in said
    damaged = tmp_path / "set/train-00000.parquet"
    held = bytearray(damaged.read_bytes())
    held[4] ^= 1
    damaged.write_bytes(held)
    assert noisestack(["verify", str(tmp_path / "set")]) == 1
    assert "train-00000.parquet: has not the recorded SHA-256" in capsys.readouterr().out


def test_misuse_of_verify_is_told_in_one_line(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_bert(tmp_path / "other", seed=9)
    flags = ["--dataset", str(inputs / "dataset")]
    for more, said in (
        ([*flags, "--text-encoder", str(tmp_path / "other")], "another text encoder"),
        (["--text-encoder", str(inputs / "bert")], "give --dataset, too"),
        ([*flags, "--classifier", str(inputs / "bert")], "is an embedding set"),
    ):
        assert noisestack(["verify", str(inputs / "set"), *more]) == 2
        assert said in capsys.readouterr().err


@pytest.fixture(scope="module")
def picture_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for the datasets of `write_captioned`."""
    path = tmp_path_factory.mktemp("encoder") / "model"
    save_picture_encoder(path, fitted_network(), TEXTS, {})
    return path


def test_pictures_are_embedded_without_tokens_whatever_their_shards(
    picture_encoder: Path, inputs: Path, tmp_path: Path, here: None
) -> None:
    keys: dict[str, Any] = {"pictures": picture_encoder, "dataset": inputs / "dataset"}
    embed.main(embed.EmbedConfig(**keys, output=tmp_path / "set"))
    opened = open_embedding_set(tmp_path / "set")
    encoder, info = PictureEncoder.load(picture_encoder), load_dataset(inputs / "dataset")
    assert opened.encoder == encoder.id
    assert (opened.encoder.pooling, opened.has_tokens, opened.num_cut) == ("picture", False, 0)
    for split, texts in (("train", TRAIN), ("test", TEST)):
        read = [read_embeddings(opened, split, n) for n in range(len(opened.splits[split]))]
        assert [i for ids, _ in read for i in ids] == [f"{split}-{n}" for n in range(len(texts))]
        images = np.concatenate([images_of(table) for table in iterate_shards(info, split)])
        found = np.concatenate([values for _, values in read])
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, encoder.encode(images).astype(np.float16))
    assert noisestack(["verify", str(tmp_path / "set")]) == 0
    due = hashes(tmp_path / "set")
    for lost in ("manifest.json", "train-00002.parquet"):
        (tmp_path / "set" / lost).unlink()
    embed.main(embed.EmbedConfig(**keys, output=tmp_path / "set"))
    assert hashes(tmp_path / "set") == due


def test_what_cannot_be_embedded_as_pictures_is_refused(
    picture_encoder: Path, inputs: Path, tmp_path: Path, here: None
) -> None:
    write_captioned(tmp_path / "large", {"train": ["cat"]}, side=16)
    keys: dict[str, Any] = {"dataset": tmp_path / "large", "output": tmp_path / "set"}
    with pytest.raises(UserError, match=r"for pictures of 8x8x1, and those of .* are 16x16x1"):
        embed.main(embed.EmbedConfig(**keys, pictures=picture_encoder))
    with pytest.raises(UserError, match="there is no model directory"):
        embed.main(embed.EmbedConfig(**keys, pictures=tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="and not both"):
        embed.EmbedConfig(**keys, pictures=picture_encoder, text_encoder="minilm")
    with pytest.raises(ValueError, match="text_encoder or pictures is needed"):
        embed.EmbedConfig(**keys)
    with pytest.raises(ValueError, match="max_length is for captions"):
        embed.EmbedConfig(**keys, pictures=picture_encoder, max_length=8)
    with pytest.raises(UserError, match="was replaced by another encoder"):
        PictureEmbedder(
            dataset=inputs / "dataset", model=picture_encoder, sha256="0" * 64, output=tmp_path
        )


@pytest.mark.ray
@pytest.mark.slow  # two processes that import transformers
@pytest.mark.usefixtures("ray_cluster")
def test_two_actors_make_the_bytes_of_one_process(inputs: Path, tmp_path: Path) -> None:
    embed.main(config(inputs, tmp_path / "set", num_workers=2))
    due = hashes(inputs / "set")
    assert hashes(tmp_path / "set") == due
