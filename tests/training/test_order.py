"""The order of training: every epoch holds every row once, and any position is reached directly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.draws import share_of_batch
from pipeline.training.stream import Order, Window, windows

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


BATCH, STEPS = 6, 4  # groups of 24 positions over epochs of 31 rows
ORDER = Order(SHARDS, seed=3, batch_size=BATCH, steps_per_group=STEPS, window_rows=9)


def read(order: Order, rows: range, steps: range) -> dict[int, list[int]]:
    """The rows of the set that a worker sees in each step."""
    seen: dict[int, list[int]] = {}
    for run in order.runs(rows, steps):
        numbers: list[int] = []
        for window in order.windows(run):
            numbers += rows_of(window, order.seed, order.shard_rows)
        ordered = np.array(numbers)[run.order()].reshape(len(run.steps), len(rows))
        seen |= {step: own.tolist() for step, own in zip(run.steps, ordered, strict=True)}
    return seen


def test_the_batches_of_a_group_are_the_columns_of_its_part_of_the_stream() -> None:
    positions = stream(0, 10 * BATCH * STEPS)
    seen = read(ORDER, range(BATCH), range(40))
    for step in range(40):
        group, column = divmod(step, STEPS)
        origin = group * STEPS * BATCH
        expected = [positions[origin + row * STEPS + column] for row in range(BATCH)]
        assert seen[step] == expected
        assert ORDER.positions(range(BATCH), step).tolist() == [
            origin + row * STEPS + column for row in range(BATCH)
        ]


@given(st.integers(0, 30), st.integers(1, 20), st.integers(1, BATCH))
def test_workers_see_disjoint_parts_of_the_batch_that_one_sees_whole(
    start: int, length: int, workers: int
) -> None:
    steps = range(start, start + length)
    whole = read(ORDER, range(BATCH), range(50))
    parts = [read(ORDER, share_of_batch(BATCH, w, workers), steps) for w in range(workers)]
    for step in steps:
        assert [row for part in parts for row in part[step]] == whole[step]
    assert all(list(part) == list(steps) for part in parts)


def test_whole_groups_over_an_epochs_length_see_every_row_equally_often() -> None:
    """31 epochs are 31 * 31 rows; groups of 24 that fill the same stretch hold the same rows."""
    seen = read(ORDER, range(BATCH), range(NUM * STEPS))
    rows = [row for step in seen.values() for row in step]
    counts = np.bincount(rows, minlength=NUM)
    assert counts.tolist() == [BATCH * STEPS] * NUM


@pytest.mark.parametrize(
    ("num_rows", "batch_size", "row_bytes", "steps", "window"),
    [
        (60_000, 128, 784, 468, 2048),  # Fashion-MNIST: no longer than an epoch
        (10**9, 128, 784, 512, 2048),  # 65,536 rows a group
        (10**9, 128, 12288, 170, 1360),  # 64x64 RGB: 256 MiB a group
        (10**9, 25_600, 784, 53, 2048),  # many workers: 64 steps, if 1 GiB holds them
        (1437, 128, 64, 11, 88),
        (5, 128, 64, 1, 8),  # fewer rows than a batch
    ],
)
def test_groups_are_as_large_as_memory_and_the_set_allow(
    num_rows: int, batch_size: int, row_bytes: int, steps: int, window: int
) -> None:
    order = Order.of([num_rows], seed=0, batch_size=batch_size, row_bytes=row_bytes)
    assert (order.steps_per_group, order.window_rows) == (steps, window)


@pytest.mark.parametrize(
    ("workers", "rows_each", "times"), [(1, 128, 1), (16, 256, 1), (128, 32, 1), (128, 8, 4)]
)
def test_workers_read_few_rows_that_are_not_their_own(
    workers: int, rows_each: int, times: int
) -> None:
    """Shards of 2,048 rows are windows. 128 workers' runs are as long, with 8 rows each of 512."""
    batch_size = workers * rows_each
    order = Order.of([2048] * 2**10, seed=0, batch_size=batch_size, row_bytes=784)
    steps = range(order.steps_per_group)
    read_rows = sum(
        window.rows
        for worker in range(workers)
        for run in order.runs(share_of_batch(batch_size, worker, workers), steps)
        for window in order.windows(run)
    )
    assert read_rows == times * len(steps) * batch_size


def test_an_empty_set_has_no_order() -> None:
    with pytest.raises(ValueError, match="empty"):
        Order.of([0], seed=0, batch_size=8, row_bytes=1)
