"""Shards as ranges of rows: each row once, however many there are, and nothing stored."""

import pickle

import pytest

from jobs.common.row_ranges import RowRanges


def test_row_ranges_cover_every_row_once() -> None:
    shards = RowRanges(10, 4)
    assert list(shards) == [
        {"index": 0, "file": "part-00000.parquet", "start": 0, "stop": 4, "num_rows": 4},
        {"index": 1, "file": "part-00001.parquet", "start": 4, "stop": 8, "num_rows": 4},
        {"index": 2, "file": "part-00002.parquet", "start": 8, "stop": 10, "num_rows": 2},
    ]


@pytest.mark.parametrize(
    ("stop", "rows_per_shard", "count"), [(0, 4, 0), (1, 4, 1), (8, 4, 2), (9, 4, 3)]
)
def test_what_is_asked_for_by_number_is_what_iteration_gives(
    stop: int, rows_per_shard: int, count: int
) -> None:
    shards = RowRanges(stop, rows_per_shard)
    assert len(shards) == count
    assert [shards[index] for index in range(count)] == list(shards) == shards[:]
    assert sum(shard["num_rows"] for shard in shards) == stop
    with pytest.raises(IndexError):
        shards[count]


def test_a_billion_rows_are_counted_without_being_stored() -> None:
    shards = RowRanges(10**9, 1)
    assert shards[-1]["start"] == 10**9 - 1
    assert len(pickle.dumps(shards)) < 200
