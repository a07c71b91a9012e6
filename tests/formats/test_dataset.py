"""Datasets and shards: any range of rows is what was written; every damage is told in one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.formats import shard
from pipeline.formats.dataset import (
    DatasetInfo,
    check_fits,
    dataset_table,
    images_of,
    iterate_shards,
    labels_of,
    load_dataset,
    read_rows,
    write_dataset_info,
    write_shard,
)
from pipeline.formats.output import read_json, write_json

SHAPE = (3, 2, 1)
CLASSES = ("a", "b", "c")
SIZES = (7, 1, 12)


def pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, *SHAPE), np.uint8)


def write(directory: Path, *, labels: bool = True, captions: bool = False) -> DatasetInfo:
    images = pictures(sum(SIZES))
    shards, start = [], 0
    for index, size in enumerate(SIZES):
        rows = range(start, start + size)
        table = dataset_table(
            [f"row-{row}" for row in rows],
            images[start : start + size],
            [row % 3 for row in rows] if labels else None,
            [f"picture {row}" for row in rows] if captions else None,
        )
        shards.append(write_shard(table, directory, f"train/part-{index:05d}.parquet"))
        start += size
    return write_dataset_info(
        directory,
        shape=SHAPE,
        classes=CLASSES if labels else (),
        splits={"train": shards, "test": []},
        has_captions=captions,
        origin={"source": "a test"},
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetInfo:
    directory = tmp_path_factory.mktemp("dataset")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard, "_GROUP_ROWS", 3)  # several row groups in a shard of twelve rows
        return write(directory)


def test_what_was_written_is_read_back(dataset: DatasetInfo) -> None:
    info = load_dataset(dataset.path)
    assert info == dataset
    assert info.shape == SHAPE
    assert info.classes == CLASSES
    assert (info.num_rows("train"), info.num_rows("test")) == (20, 0)
    tables = list(iterate_shards(info, "train"))
    assert [table.num_rows for table in tables] == list(SIZES)
    whole = pa.concat_tables(tables)
    assert np.array_equal(images_of(whole), pictures(20))
    assert np.array_equal(labels_of(whole), np.arange(20) % 3)
    assert whole["id"].to_pylist() == [f"row-{row}" for row in range(20)]
    assert list(iterate_shards(info, "test")) == []


@given(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted))
@settings(deadline=None)
def test_any_range_of_rows_is_that_slice_of_the_whole(
    dataset: DatasetInfo, ends: list[int]
) -> None:
    start, stop = ends
    table = read_rows(dataset, "train", start, stop)
    assert np.array_equal(images_of(table), pictures(20)[start:stop])
    assert np.array_equal(labels_of(table), np.arange(start, stop) % 3)


def test_only_the_needed_row_groups_are_read(
    dataset: DatasetInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    read = pq.ParquetFile.read_row_groups

    def spy(self: pq.ParquetFile, groups: list[int], **options: object) -> pa.Table:
        asked.append(groups)
        return read(self, groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", spy)
    read_rows(dataset, "train", 12, 15)  # rows 4 to 6 of the third shard, in groups of three
    assert asked == [[1, 2]]


def test_chosen_columns_alone_are_read(dataset: DatasetInfo) -> None:
    assert read_rows(dataset, "train", 0, 9, ["label"]).column_names == ["label"]


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 21), (21, 21)])
def test_rows_outside_the_split_are_an_index_error(
    dataset: DatasetInfo, start: int, stop: int
) -> None:
    with pytest.raises(IndexError):
        read_rows(dataset, "train", start, stop)


def test_pictures_of_one_chunk_are_not_copied() -> None:
    images = pictures(4)
    table = dataset_table(list("abcd"), images, None, None)
    assert np.shares_memory(images_of(table), images)
    part = images_of(table.slice(1, 2))
    assert np.array_equal(part, images[1:3])
    assert np.shares_memory(part, images)


def test_without_a_label_column_every_label_is_minus_one() -> None:
    table = dataset_table(list("abcd"), pictures(4), None, ["", "x", "y", "z"])
    assert labels_of(table).tolist() == [-1] * 4
    assert labels_of(table).dtype == np.int64


def test_an_unknown_split_is_a_user_error_that_names_those_there_are(dataset: DatasetInfo) -> None:
    with pytest.raises(UserError, match="'valid', only train, test"):
        dataset.num_rows("valid")


def test_a_missing_column_is_a_user_error_that_names_those_there_are(dataset: DatasetInfo) -> None:
    table = read_rows(dataset, "train", 0, 1, ["id", "label"])
    with pytest.raises(UserError, match="'image', only id, label"):
        images_of(table)
    with pytest.raises(UserError, match="column label holds int64"):
        images_of(table, "label")


def test_the_same_rows_give_the_same_bytes_whatever_their_chunks(tmp_path: Path) -> None:
    images = pictures(9)
    whole = dataset_table([str(row) for row in range(9)], images, range(9), None)
    chunked = pa.concat_tables([whole.slice(0, 4), whole.slice(4)])
    one = write_shard(whole, tmp_path, "one.parquet")
    two = write_shard(chunked, tmp_path, "two.parquet")
    assert (one.sha256, one.num_bytes) == (two.sha256, two.num_bytes)


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(table: pa.Table, where: Path, **_: object) -> None:
        where.write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space"):
        write_shard(dataset_table(["a"], pictures(1), None, None), tmp_path, "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_the_identity_follows_the_rows_and_not_the_origin(tmp_path: Path) -> None:
    one = write(tmp_path / "one")
    two = write(tmp_path / "two")
    assert one.sha256 == two.sha256
    assert write(tmp_path / "three", captions=True).sha256 != one.sha256
    assert write(tmp_path / "four", labels=False).sha256 != one.sha256


def test_a_missing_directory_and_one_without_dataset_json_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dataset directory"):
        load_dataset(tmp_path / "absent")
    with pytest.raises(UserError, match=r"no dataset\.json"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "shorter"])
def test_a_missing_or_shortened_shard_is_named(tmp_path: Path, damage: str) -> None:
    info = write(tmp_path)
    file = tmp_path / info.splits["train"][1].file
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"part-00001\.parquet"):
        load_dataset(tmp_path)


def test_a_damaged_shard_is_a_user_error_when_read(tmp_path: Path) -> None:
    info = write(tmp_path)
    file = tmp_path / info.splits["train"][0].file
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(UserError, match=r"part-00000\.parquet is not a Parquet file"):
        read_rows(load_dataset(tmp_path), "train", 0, 2)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 9, "unknown format"),
        ("shape", [3, 2], "not complete"),
        ("splits", {"train": [{"file": "x"}]}, "does not list"),
        ("classes", ["a", "b", "d"], "changed by hand"),
    ],
)
def test_an_edited_dataset_json_is_refused(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    write(tmp_path)
    stored = read_json(tmp_path / "dataset.json")
    write_json(tmp_path / "dataset.json", {**stored, key: value})
    with pytest.raises(UserError, match=message):
        load_dataset(tmp_path)


def test_a_model_of_another_shape_or_other_classes_does_not_fit(dataset: DatasetInfo) -> None:
    check_fits(dataset, shape=SHAPE, classes=CLASSES, what="the classifier")
    with pytest.raises(UserError, match=r"the classifier is for pictures of 8x8x1.*3x2x1"):
        check_fits(dataset, shape=(8, 8, 1), classes=CLASSES, what="the classifier")
    with pytest.raises(UserError, match="label 1 is x in the one and b in the other"):
        check_fits(dataset, shape=SHAPE, classes=("a", "x"), what="the classifier")
    with pytest.raises(UserError, match="label 3 is d in the one and absent"):
        check_fits(dataset, shape=SHAPE, classes=(*CLASSES, "d"), what="the classifier")


def test_plain_pyarrow_reads_a_shard_without_our_code(dataset: DatasetInfo) -> None:
    file = dataset.path / dataset.splits["train"][2].file
    program = (
        "import sys, pyarrow.parquet as pq;"
        "t = pq.read_table(sys.argv[1]);"
        "print(t['image'].combine_chunks().to_numpy_ndarray().shape, t['id'][0], t['label'].type)"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", program, file], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "(12, 3, 2, 1) row-8 int64"
