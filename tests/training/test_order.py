"""The order of training: every epoch holds every row once, and any position is reached directly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.stream import Window, windows

SHARDS = (5, 0, 7, 3, 11, 1, 4)
NUM = sum(SHARDS)
OFFSETS = np.cumsum((0, *SHARDS))


def rows_of(window: Window, seed: int, shards: tuple[int, ...] = SHARDS) -> list[int]:
    """Global row numbers in the order of the window."""
    offsets = np.cumsum((0, *shards))
    laid_out = np.concatenate([np.arange(offsets[s], offsets[s + 1]) for s in window.shards])
    return [int(r) for r in laid_out[window.order(seed)]]


def stream(
    start: int, stop: int, *, seed: int = 3, window_rows: int = 9, shards: tuple[int, ...] = SHARDS
) -> list[int]:
    found: list[int] = []
    for window in windows(shards, seed=seed, start=start, stop=stop, window_rows=window_rows):
        assert window.position == start + len(found)
        assert window.take == len(window.order(seed)) > 0
        found += rows_of(window, seed, shards)
    return found


@pytest.mark.parametrize("window_rows", [1, 9, 1000])
def test_every_epoch_holds_every_row_once(window_rows: int) -> None:
    rows = stream(0, 4 * NUM, window_rows=window_rows)
    for epoch in range(4):
        assert sorted(rows[epoch * NUM : (epoch + 1) * NUM]) == list(range(NUM))


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=8).filter(sum),
    st.integers(1, 30),
    st.integers(0, 200),
    st.integers(0, 100),
    st.integers(0, 2**40),
)
def test_any_start_reaches_the_rows_that_the_beginning_reaches(
    shards: list[int], window_rows: int, start: int, length: int, seed: int
) -> None:
    options = {"seed": seed, "window_rows": window_rows}
    stop = start + length
    whole = stream(0, stop, shards=tuple(shards), **options)
    assert len(whole) == stop
    assert stream(start, stop, shards=tuple(shards), **options) == whole[start:]


def test_windows_hold_whole_shards_up_to_the_first_that_fills_them() -> None:
    seen = list(windows(SHARDS, seed=3, start=0, stop=6 * NUM, window_rows=9))
    for window in seen:
        rows = [SHARDS[s] for s in window.shards]
        assert sum(rows) == window.rows
        assert sum(rows[:-1]) < 9
        assert (window.skip, window.take) == (0, window.rows)
    assert len({window.key for window in seen}) == len(seen)


def test_epochs_and_seeds_differ_in_order_and_grouping() -> None:
    first, second = stream(0, NUM), stream(NUM, 2 * NUM)
    assert first != second
    assert first != stream(0, NUM, seed=4)
    one, other = (
        [
            w.shards
            for w in windows(SHARDS, seed=3, start=e * NUM, stop=(e + 1) * NUM, window_rows=9)
        ]
        for e in (0, 1)
    )
    assert one != other


def test_a_window_mixes_the_rows_of_its_shards() -> None:
    (window,) = windows((500, 500), seed=0, start=0, stop=1000)
    from_first = np.array(rows_of(window, 0, (500, 500))) < 500
    half = int(from_first[:500].sum())
    # hypergeometric: mean 250, variance 500 * 1/4 * 500/999
    assert abs(half - 250) < 5 * np.sqrt(500 * 0.25 * 500 / 999)


def test_far_positions_are_reached_without_the_epochs_before() -> None:
    far = 10**12 // NUM * NUM
    assert sorted(stream(far, far + NUM)) == list(range(NUM))


def test_a_set_without_rows_has_no_stream() -> None:
    with pytest.raises(ValueError, match="empty"):
        list(windows((0, 0), seed=0, start=0, stop=10))
