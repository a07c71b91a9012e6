"""Shards that are unpacked from Parquet once and read as plain bytes from then on."""

import os
import pickle
import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from digit_set import digits, write_digits

from pipeline.formats import decoded
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.decoded import DecodedShards

SHARD_BYTES = 30 * 64
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetInfo:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return write_digits(tmp_path / "digits", num_train=100, num_test=10, shard_rows=30)


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that Parquet is read from, in order."""
    files: list[str] = []
    read_part = decoded.read_part

    def noted(path: Path, *args: object) -> object:
        files.append(path.name)
        return read_part(path, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(decoded, "read_part", noted)
    return files


def shards_of(info: DatasetInfo, limit: int, *, labelled: bool = True) -> DecodedShards:
    columns = ["image", "label"] if labelled else ["image"]
    return DecodedShards(info.path, info.splits["train"], info.shape, columns=columns, limit=limit)


def assert_right(shards: DecodedShards, number: int) -> None:
    images, labels = digits()
    rows = slice(number * 30, min(100, number * 30 + 30))
    read, answers = shards.read(number)
    assert np.array_equal(read, images[rows])
    assert np.array_equal(answers, labels[rows])


def test_every_shard_is_unpacked_once_and_its_rows_are_the_same_ever_after(
    info: DatasetInfo, unpacked: list[str]
) -> None:
    shards = shards_of(info, 1 << 20)
    for number in (2, 0, 3, 1, 1, 3, 0, 2):
        assert_right(shards, number)
    assert unpacked == [f"part-{n:05d}.parquet" for n in (2, 0, 3, 1)]
    assert shards.num_cached_bytes == 100 * 64


def test_what_lies_above_the_limit_is_unpacked_each_time(
    info: DatasetInfo, unpacked: list[str]
) -> None:
    shards = shards_of(info, 2 * SHARD_BYTES + 10 * 64)  # the last shard has 10 rows
    for number in (0, 1, 2, 3) * 2:
        assert_right(shards, number)
    assert unpacked == [f"part-{n:05d}.parquet" for n in (0, 1, 2, 3, 2)]


def test_without_a_limit_of_its_own_nothing_is_written(
    info: DatasetInfo, unpacked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    shards = shards_of(info, 0)
    assert_right(shards, 0)
    assert_right(shards, 0)
    assert len(unpacked) == 2


def test_a_fifth_of_the_disk_is_left_free(
    info: DatasetInfo, unpacked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = Usage(100_000, 0, 20_000 + SHARD_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    shards = shards_of(info, 1 << 20)
    assert_right(shards, 0)
    usage = Usage(100_000, 0, 20_000 + SHARD_BYTES - 1)
    for number in (1, 1, 0):
        assert_right(shards, number)
    assert unpacked == [f"part-{n:05d}.parquet" for n in (0, 1, 1)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_costs_no_row_and_is_not_written_to_again(
    info: DatasetInfo, unpacked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def full(**_: object) -> object:
        opened.append(open("/dev/full", "r+b", buffering=0))  # noqa: SIM115
        return opened[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    shards = shards_of(info, 1 << 20)
    for number in (0, 1, 0, 1):
        assert_right(shards, number)
    opened[0].close()
    assert len(opened) == 1
    assert len(unpacked) == 4


def test_the_file_has_no_name_and_a_reader_travels_without_it(
    info: DatasetInfo, unpacked: list[str]
) -> None:
    travelled = pickle.loads(pickle.dumps(shards_of(info, 1 << 20)))
    assert_right(travelled, 0)
    assert travelled.num_cached_bytes == SHARD_BYTES
    assert os.listdir(tempfile.gettempdir()) == []


def test_without_labels_all_are_unknown_on_both_ways(info: DatasetInfo) -> None:
    shards = shards_of(info, 1 << 20, labelled=False)
    assert (shards.read(0)[1] == -1).all()
    assert (shards.read(0)[1] == -1).all()
