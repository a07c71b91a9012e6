"""Rows that come without splits are divided by class, exactly, and stably when rows are added."""

import hashlib
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.sources import base
from pipeline.sources.base import RawRow, Source
from pipeline.sources.digits import DigitsSource
from pipeline.sources.division import Division, counts_for_testing, divide
from pipeline.sources.folder import FolderSource
from pipeline.sources.idx import IdxSource
from pipeline.sources.metadata import MetadataSource
from pipeline.sources.parquet import ParquetSource

Rows = list[tuple[str, int]]


def rows_of(*counts: int, first: int = 0) -> Rows:
    """So many rows of each class, their ids numbered from `first`."""
    return [
        (f"c{label}-{number}", label)
        for label, count in enumerate(counts)
        for number in range(first, first + count)
    ]


def division_of(rows: Rows, num_classes: int, fraction: float = 0.2, seed: int = 0) -> Division:
    # Batches of three, so that classes meet in them in all ways.
    parts = [rows[start : start + 3] for start in range(0, len(rows), 3)]
    keys = [([row for row, _ in part], np.array([c for _, c in part])) for part in parts]
    return divide(keys, num_classes, seed=seed, test_fraction=fraction)


def for_testing(rows: Rows, num_classes: int, fraction: float = 0.2, seed: int = 0) -> set[str]:
    division = division_of(rows, num_classes, fraction, seed)
    return {row for row, label in rows if division.split_of(row, label) == "test"}


@pytest.mark.parametrize(
    ("counts", "fraction", "expected"),
    [
        ((10,), 0.2, 2),
        ((5, 5), 0.2, 2),
        ((23,), 0.2, 5),  # 4.6
        ((12, 11), 0.2, 5),
        ((100, 50, 10), 0.1, 16),
        ((7, 7, 7), 1 / 3, 7),
        ((1,) * 10, 0.2, 2),
        ((2, 2), 0.5, 2),
        ((1000, 3), 0.29, 291),
    ],
)
def test_as_many_rows_as_asked_are_for_testing(
    counts: tuple[int, ...], fraction: float, expected: int
) -> None:
    for seed in range(5):
        rows = rows_of(*counts)
        chosen = for_testing(rows, len(counts), fraction, seed)
        assert len(chosen) == expected
        for label, count in enumerate(counts):
            of_class = sum(row.startswith(f"c{label}-") for row in chosen)
            assert abs(of_class - fraction * count) < 1


def test_within_a_class_those_with_the_lowest_keys_are_for_testing() -> None:
    rows = rows_of(40, 20)
    chosen = for_testing(rows, 2, 0.25, seed=3)
    for label, count in ((0, 10), (1, 5)):
        ids = [row for row, c in rows if c == label]
        ids.sort(key=lambda row: hashlib.sha256(f"3:{row}".encode()).digest())
        assert {row for row in chosen if row in ids} == set(ids[:count])


def test_classes_with_a_row_to_spare_keep_one_to_train_on() -> None:
    counts = (2, 3, 1, 1, 9)
    chosen = for_testing(rows_of(*counts), 5, 0.5)
    assert len(chosen) == 8
    for label in (0, 1, 4):
        assert 0 < sum(row.startswith(f"c{label}-") for row in chosen) < counts[label]


def test_the_largest_remainders_get_the_rows_that_are_over() -> None:
    assert counts_for_testing([9, 12, 4], Fraction(1, 5), 5, [0, 0, 0]) == [2, 2, 1]
    # Equal remainders: the lowest key first; a single row last.
    assert counts_for_testing([2, 2, 2, 1], Fraction(1, 2), 4, [5, 3, 4, 0]) == [1, 1, 1, 1]
    assert counts_for_testing([3, 3, 3, 1], Fraction(1, 2), 5, [5, 3, 4, 0]) == [1, 2, 2, 0]


def test_rows_without_labels_are_one_stratum_and_bad_labels_count_nowhere() -> None:
    plain = [(row, -1) for row, _ in rows_of(23)]
    assert len(for_testing(plain, 0)) == 5
    rows = [*rows_of(10, 10), *((f"bad-{number}", -1) for number in range(10))]
    division = division_of(rows, 2)
    assert sum(division.split_of(row, c) == "test" for row, c in rows if c >= 0) == 4


def test_added_rows_move_only_those_next_to_the_threshold() -> None:
    """Doubling a set moves no row back and forth but a handful at each class's threshold."""
    before, more = rows_of(400, 200), rows_of(400, 200, first=1000)
    old, new = for_testing(before, 2), for_testing([*before, *more], 2)
    moved = {row for row, _ in before if (row in old) != (row in new)}
    # The threshold moves by its own error: a binomial's, of standard deviation 8 and 6 rows.
    assert len(moved) < 5 * (8 + 6)
    one = for_testing([*before, ("new", 0)], 2)
    assert len(old ^ one - {"new"}) <= 2


def test_neither_order_nor_batches_matter_and_the_seed_does() -> None:
    rows = rows_of(30, 50)
    assert for_testing(rows[::-1], 2) == for_testing(rows, 2)
    assert for_testing(rows, 2, seed=1) != for_testing(rows, 2)


def test_nothing_is_for_testing_where_nothing_is_asked() -> None:
    assert for_testing(rows_of(5, 5), 2, 0.0) == set()


@pytest.mark.parametrize(
    ("counts", "fraction", "split"), [((2,), 0.2, "test"), ((10,), 0.96, "train")]
)
def test_an_empty_split_is_told_with_its_remedy(
    counts: tuple[int, ...], fraction: float, split: str
) -> None:
    with pytest.raises(UserError, match=f"none of the .* rows falls into the split {split}"):
        for_testing(rows_of(*counts), len(counts), fraction)


def test_a_row_takes_18_bytes_and_no_object() -> None:
    num_rows, at_once = 100_000, 2500

    def rows() -> Iterator[tuple[list[str], NDArray[np.int64]]]:
        for start in range(0, num_rows, at_once):
            numbers = np.arange(start, start + at_once)
            yield list(map(str, numbers.tolist())), numbers % 7

    tracemalloc.start()
    try:
        divide(rows(), 7, seed=0, test_fraction=0.2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 18.5 * num_rows + 200 * at_once


def test_sources_know_ids_and_labels_without_reading_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat/a.png", "cat/b.png", "dog/c.png"):
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(b"no picture")
    (tmp_path / "listed").mkdir()
    lines = ["file_name,label", *(f"{i}.png,{label}" for i, label in enumerate(["x", "", "y"]))]
    (tmp_path / "listed" / "metadata.csv").write_text("\n".join(lines))
    for number in range(3):
        (tmp_path / "listed" / f"{number}.png").write_bytes(b"no picture")
    size = (3).to_bytes(4, "big")
    pictures = bytes((0, 0, 8, 3)) + size + bytes((0, 0, 0, 1)) * 2 + bytes(3)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(pictures)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes((0, 0, 8, 1)) + size + b"\0\2\1")
    table = pa.table({"image": [b"x"] * 4, "label": [1, None, 0, 1], "key": [7, 8, 9, 10]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    pq.write_table(table.select(["image"]).append_column("text", [["t"] * 4]), tmp_path / "b")
    sources: list[Source] = [
        DigitsSource(),
        FolderSource(tmp_path / "folder"),
        MetadataSource(tmp_path / "listed"),
        IdxSource(tmp_path, ["a", "b"]),
        ParquetSource(tmp_path / "a.parquet"),
        ParquetSource(tmp_path / "a.parquet", id_column="key"),
        ParquetSource(tmp_path / "b"),
    ]
    monkeypatch.setattr(base, "KEYS_AT_ONCE", 2)
    for source in sources:
        rows = [row for row in source.read(0, source.num_rows) if isinstance(row, RawRow)]
        found = [
            pair
            for ids, labels in source.keys()  # noqa: SIM118  # no mapping
            for pair in zip(ids, labels.tolist(), strict=True)
        ]
        assert found == [(row.id, row.label) for row in rows]
