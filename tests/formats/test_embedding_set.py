"""Embedding sets on disk: the very float16 values come back, and another dataset is refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, dataset_table, write_dataset_info, write_shard
from pipeline.formats.embedding_rows import embedding_table, write_embeddings
from pipeline.formats.embedding_set import (
    MANIFEST_FILE,
    check_embeds,
    check_ids,
    open_embedding_set,
    read_embeddings,
    shard_file,
    write_embedding_manifest,
)
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.output import read_json, write_json

ENCODER = EncoderId("tiny", "a" * 64, "b" * 64, max_length=5, pooling="mean", width=3)
SIZES = {"train": (4, 3), "test": (2,)}


def ids_of(split: str, number: int) -> list[str]:
    return [f"{split}-{number}-{row}" for row in range(SIZES[split][number])]


def values(num: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    pooled = draws.standard_normal((num, 3)).astype(np.float16)
    tokens = draws.standard_normal((num, 5, 3)).astype(np.float16)
    lengths = draws.integers(1, 6, num)
    tokens[np.arange(5) >= lengths[:, None]] = 0
    return pooled, tokens, lengths


def write_dataset(path: Path, fill: int = 0) -> DatasetInfo:
    splits = {}
    for split, sizes in SIZES.items():
        splits[split] = [
            write_shard(
                dataset_table(
                    ids_of(split, number),
                    np.full((size, 2, 2, 1), fill, np.uint8),
                    None,
                    ["cat"] * size,
                ),
                path,
                f"{split}/part-{number:05d}.parquet",
            )
            for number, size in enumerate(sizes)
        ]
    return write_dataset_info(
        path, shape=(2, 2, 1), classes=(), splits=splits, has_captions=True, origin={}
    )


def write_set(
    path: Path,
    info: DatasetInfo,
    *,
    has_tokens: bool = True,
    encoder: EncoderId = ENCODER,
    splits: Sequence[str] = ("train", "test"),
) -> Path:
    shards = {}
    for split in splits:
        shards[split] = []
        for number, size in enumerate(SIZES[split]):
            pooled, tokens, lengths = values(size, seed=number)
            table = embedding_table(
                ids_of(split, number), pooled, *((tokens, lengths) if has_tokens else ())
            )
            shards[split].append(write_embeddings(table, path, shard_file(split, number)))
    write_embedding_manifest(
        path,
        dataset_sha256=info.sha256,
        encoder=encoder,
        splits=shards,
        has_tokens=has_tokens,
        num_cut=1,
        origin={"job": "embed"},
    )
    return path


@pytest.fixture
def info(tmp_path: Path) -> DatasetInfo:
    return write_dataset(tmp_path / "dataset")


def test_the_values_come_back_bit_for_bit_with_zeros_after_a_texts_end(
    tmp_path: Path, info: DatasetInfo
) -> None:
    opened = open_embedding_set(write_set(tmp_path / "set", info))
    assert (opened.encoder, opened.has_tokens, opened.num_cut) == (ENCODER, True, 1)
    assert {split: opened.num_rows(split) for split in opened.splits} == {"train": 7, "test": 2}
    for number in (0, 1):
        ids, found = read_embeddings(opened, "train", number)
        pooled, tokens, _ = values(SIZES["train"][number], seed=number)
        assert ids == ids_of("train", number)
        assert (found.dtype, found.shape) == (np.float16, (len(ids), 6, 3))
        assert found[:, 0].tobytes() == pooled.tobytes()
        assert found[:, 1:].tobytes() == tokens.tobytes()
        alone = read_embeddings(opened, "train", number, pooled_only=True)
        assert alone[0] == ids
        assert alone[1].tobytes() == pooled.tobytes()
        part_ids, part = read_embeddings(opened, "train", number, start=1, stop=3)
        assert part_ids == ids[1:3]
        assert part.tobytes() == found[1:3].tobytes()


def test_a_set_of_pictures_has_vectors_alone(tmp_path: Path, info: DatasetInfo) -> None:
    pictures = replace(ENCODER, tokenizer_sha256="", max_length=0, pooling="picture")
    opened = open_embedding_set(
        write_set(tmp_path / "set", info, has_tokens=False, encoder=pictures)
    )
    found = read_embeddings(opened, "test", 0)[1]
    assert found.tobytes() == values(2, seed=0)[0].tobytes()
    assert pq.read_schema(tmp_path / "set/test-00000.parquet").names == ["id", "pooled"]


def test_any_reader_of_parquet_sees_ragged_lists_of_float16(
    tmp_path: Path, info: DatasetInfo
) -> None:
    table = pq.read_table(write_set(tmp_path / "set", info) / "train-00000.parquet")
    _, tokens, lengths = values(4, seed=0)
    assert table.column_names == ["id", "tokens", "pooled"]
    rows = table.column("tokens").to_pylist()
    assert [len(row) for row in rows] == lengths.tolist()
    for row, length, due in zip(rows, lengths, tokens, strict=True):
        np.testing.assert_array_equal(np.array(row, np.float16), due[:length])


def test_the_identity_is_that_of_encoder_dataset_and_rows(
    tmp_path: Path, info: DatasetInfo
) -> None:
    def sha256(name: str, **how: object) -> str:
        return open_embedding_set(write_set(tmp_path / name, info, **how)).sha256  # type: ignore[arg-type]

    first = sha256("one")
    assert sha256("again", encoder=replace(ENCODER, name="moved")) == first
    assert sha256("pooling", encoder=replace(ENCODER, pooling="first")) != first
    assert sha256("fewer", splits=("train",)) != first


def test_the_set_of_another_dataset_or_of_other_rows_is_refused(
    tmp_path: Path, info: DatasetInfo
) -> None:
    opened = open_embedding_set(write_set(tmp_path / "set", info, splits=("train",)))
    check_embeds(opened, info, "train")
    with pytest.raises(UserError, match=r"was made of another dataset than .*/other "):
        check_embeds(opened, write_dataset(tmp_path / "other", fill=1), "train")
    with pytest.raises(UserError, match="has no split 'test', only train"):
        check_embeds(opened, info, "test")
    short = replace(opened, splits={"train": opened.splits["train"][:1]})
    with pytest.raises(UserError, match="has other rows of train than"):
        check_embeds(short, info, "train")
    ids = ids_of("train", 1)
    check_ids(opened, "train", 1, ids, ids)
    with pytest.raises(UserError, match=r"train-00001.parquet is of other rows: id 'train-1-1'"):
        check_ids(opened, "train", 1, ids, [ids[0], "another", ids[2]])
    with pytest.raises(UserError, match="3 ids where the dataset has 2"):
        check_ids(opened, "train", 1, ids, ids[:2])
    with pytest.raises(UserError, match="has 2 shards of train, and no number 2"):
        read_embeddings(opened, "train", 2)


def test_what_is_unfinished_altered_or_missing_is_refused(
    tmp_path: Path, info: DatasetInfo
) -> None:
    path = write_set(tmp_path / "set", info)
    stored = read_json(path / MANIFEST_FILE)
    write_json(path / MANIFEST_FILE, {**stored, "encoder": {**stored["encoder"], "width": 4}})
    with pytest.raises(UserError, match="changed by hand"):
        open_embedding_set(path)
    write_json(path / MANIFEST_FILE, {**stored, "kind": "sample_set"})
    with pytest.raises(UserError, match="is not an embedding set's"):
        open_embedding_set(path)
    write_json(path / MANIFEST_FILE, stored)
    (path / "train-00001.parquet").rename(path / "elsewhere")
    with pytest.raises(UserError, match=r"train-00001\.parquet is missing"):
        open_embedding_set(path)
    (path / MANIFEST_FILE).unlink()
    with pytest.raises(UserError, match="holds no finished embedding set"):
        open_embedding_set(path)


def test_a_file_of_vectors_of_another_width_is_refused(tmp_path: Path, info: DatasetInfo) -> None:
    wide = replace(ENCODER, width=4)
    opened = open_embedding_set(write_set(tmp_path / "set", info, encoder=wide))
    with pytest.raises(UserError, match="its columns are not id, tokens, pooled of 4 dimensions"):
        read_embeddings(opened, "train", 0)
