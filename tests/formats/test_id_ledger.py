"""Ids that come twice are found among any number of them, in the memory that is promised."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.id_ledger import IdLedger, digests_of


def repeats(
    ids: list[str], rows_in_memory: int, cuts: tuple[int, ...] = ()
) -> set[tuple[int, int]]:
    """What a ledger finds that gets the ids in pieces."""
    with IdLedger(len(ids), rows_in_memory) as ledger:
        for start, stop in zip((0, *cuts), (*cuts, len(ids)), strict=True):
            digests = digests_of(pa.array(ids[start:stop], pa.string()))
            ledger.add(digests, np.arange(start, stop))
        found = list(ledger.repeats())
    assert len(set(found)) == len(found)
    return set(found)


@given(
    st.lists(st.text(max_size=2), max_size=60),
    st.integers(1, 70),
    st.integers(0, 60),
)
def test_each_repeat_is_told_with_the_nearest_place_before_it(
    ids: list[str], rows_in_memory: int, cut: int
) -> None:
    places: dict[str, int] = {}
    expected = set()
    for position, value in enumerate(ids):
        if value in places:
            expected.add((position, places[value]))
        places[value] = position
    assert repeats(ids, rows_in_memory, (min(cut, len(ids)),)) == expected


def test_ids_that_differ_in_their_last_letter_alone_are_different() -> None:
    assert repeats(["a" * 5000 + letter for letter in "abc"], 10) == set()


def test_memory_is_that_of_one_part_and_not_of_all_rows() -> None:
    def peak(num_rows: int) -> int:
        rng = np.random.default_rng(0)
        tracemalloc.start()
        with IdLedger(num_rows, 4096) as ledger:
            for start in range(0, num_rows, 1024):
                digests = rng.integers(0, 2**64, (1024, 2), np.uint64)
                ledger.add(digests, np.arange(start, start + 1024))
            assert list(ledger.repeats()) == []
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    # 64 times the rows; what grows are 64 open files with a buffer of 8 kB each.
    few, many = peak(4096), peak(64 * 4096)
    assert many < few + 64 * 10_000
    assert many < 64 * 4096 * 24 / 2  # the bare digests of all rows would be 6.3 MB


def test_the_temporary_files_go_also_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail() -> None:
        with IdLedger(10, 2):
            assert len(list(tmp_path.glob("*/*"))) == 6
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
