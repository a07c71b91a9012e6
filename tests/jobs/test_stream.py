"""The training stream on Ray Data: the rows of `Order`, resident or streamed, from any step."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import ray.data
from digit_set import digits, write_digits
from embedding_sets import embedded, write_embedding_set

from jobs.common import stream
from jobs.common.batches import EMBEDDED, Batch
from jobs.common.stream import RunReader, TrainingData, training_batches
from pipeline.formats.dataset import DatasetInfo, images_of, iterate_shards, labels_of
from pipeline.formats.row_embeddings import RowEmbeddings
from pipeline.training.draws import share_of_batch
from pipeline.training.stream import Order, windows

NUM, SEED, BATCH, STEPS = 130, 7, 8, 40
SHARDS = (30, 30, 30, 30, 10)
# Several windows a group, groups that end within epochs, runs of several groups.
ORDER = Order(SHARDS, seed=SEED, batch_size=BATCH, steps_per_group=6, window_rows=20)


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> DatasetInfo:
    path = tmp_path_factory.mktemp("stream") / "digits"
    return write_digits(path, num_train=NUM, num_test=10, shard_rows=30)


@pytest.fixture(autouse=True)
def several_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a large set has them."""
    monkeypatch.setattr(stream, "_ROWS_A_TASK", 60)
    monkeypatch.setattr(stream, "_SHARDS_A_TASK", 2)


def data(info: DatasetInfo, mode: stream.DataMode = "streaming") -> TrainingData:
    return TrainingData(info, "train", ORDER, mode, labelled=True)


def row_at(positions: np.ndarray) -> np.ndarray:
    """Numbers of the split's rows at positions of the stream."""
    offsets = np.cumsum([0, *SHARDS])
    parts = []
    stop = int(positions.max()) + 1
    for window in windows(SHARDS, seed=SEED, start=0, stop=stop, window_rows=20):
        laid_out = np.concatenate([np.arange(offsets[s], offsets[s + 1]) for s in window.shards])
        parts.append(laid_out[window.order(SEED)])
    rows: np.ndarray = np.concatenate(parts)[positions]
    return rows


def assert_right(batches: list[Batch], rows: range, steps: range) -> None:
    images, labels = digits()
    assert len(batches) == len(steps)
    for step, batch in zip(steps, batches, strict=True):
        expected = row_at(ORDER.positions(rows, step))
        assert np.array_equal(batch["image"], images[expected])
        assert np.array_equal(batch["label"], labels[expected])


def test_a_reader_gives_a_runs_rows_step_after_step_with_positions(info: DatasetInfo) -> None:
    rows, steps = range(2, 5), range(4, 15)
    tables = list(RunReader(data(info), rows, steps)({"id": np.arange(3)}))
    assert [table.num_rows for table in tables] == [2 * 3, 6 * 3, 3 * 3]
    expected = np.concatenate([ORDER.positions(rows, step) for step in steps])
    positions = np.concatenate([table["position"].to_numpy() for table in tables])
    assert np.array_equal(positions, expected)
    images, labels = digits()
    assert np.array_equal(np.concatenate([images_of(t) for t in tables]), images[row_at(expected)])
    assert np.array_equal(np.concatenate([labels_of(t) for t in tables]), labels[row_at(expected)])


@pytest.fixture(scope="module")
def with_embeddings(info: DatasetInfo) -> RowEmbeddings:
    path = info.path.parent / "embedded"
    write_embedding_set(path, info)
    return RowEmbeddings.open(path, info, "train", pooled_only=False)


def test_rows_are_streamed_with_their_own_embeddings(
    info: DatasetInfo, with_embeddings: RowEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streamed here without Ray: the reader's own tables, as Ray Data passes them on."""
    both = replace(data(info), embeddings=with_embeddings)
    rows, steps = range(2, 5), range(4, 15)

    class Read:
        def iter_batches(self, **_: object) -> Iterator[Batch]:
            for table in RunReader(both, rows, steps)({"id": np.arange(3)}):
                columns = {"position": table["position"].to_numpy(), "label": labels_of(table)}
                raw = images_of(table, EMBEDDED)
                yield {**columns, "image": images_of(table), EMBEDDED: raw}

    monkeypatch.setattr(stream, "_read", lambda *_, **__: Read())
    batches = list(training_batches(both, rows, steps))
    assert_right(batches, rows, steps)
    assert_embedded(batches, rows, steps)


def assert_embedded(batches: list[Batch], rows: range, steps: range) -> None:
    for step, batch in zip(steps, batches, strict=True):
        due = [embedded(f"digit-{row}") for row in row_at(ORDER.positions(rows, step))]
        assert batch[EMBEDDED].dtype == np.float16
        assert np.array_equal(batch[EMBEDDED], np.stack(due))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("mode", ["resident", "streaming"])
def test_both_ways_join_the_embeddings_by_id(
    info: DatasetInfo, with_embeddings: RowEmbeddings, mode: stream.DataMode
) -> None:
    rows, steps = range(2, 5), range(11, STEPS)
    both = replace(data(info, mode), embeddings=with_embeddings)
    batches = list(training_batches(both, rows, steps))
    assert_right(batches, rows, steps)
    assert_embedded(batches, rows, steps)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("mode", "start"), [("resident", 11), ("streaming", 0), ("streaming", 11), ("streaming", 39)]
)
def test_both_ways_give_each_step_its_rows_from_any_step(
    info: DatasetInfo, mode: stream.DataMode, start: int
) -> None:
    steps = range(start, STEPS)
    batches = list(training_batches(data(info, mode), range(BATCH), steps))
    assert_right(batches, range(BATCH), steps)


@pytest.mark.parametrize("start", [0, 39])
def test_a_split_in_memory_gives_each_step_its_rows_from_any_step(
    info: DatasetInfo, monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    """Read without Ray here."""
    table = pa.concat_tables(iterate_shards(info, "train"))
    read = {"image": images_of(table), "label": labels_of(table)}
    monkeypatch.setattr(stream, "read_split", lambda _: read)
    steps = range(start, STEPS)
    batches = list(training_batches(data(info, "resident"), range(BATCH), steps))
    assert_right(batches, range(BATCH), steps)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("mode", ["resident", "streaming"])
def test_three_workers_see_disjoint_rows_that_make_up_each_batch_and_drop_none(
    info: DatasetInfo, mode: stream.DataMode
) -> None:
    steps = range(3, STEPS)
    for worker in range(3):
        rows = share_of_batch(BATCH, worker, 3)
        assert_right(list(training_batches(data(info, mode), rows, steps)), rows, steps)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_rows_that_come_in_another_order_are_noticed(
    info: DatasetInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shuffled(self: RunReader, batch: dict[str, np.ndarray]) -> Iterator[object]:
        for number in batch["id"]:
            table = self.read(self._runs[int(number)])
            yield table.take(np.random.default_rng(0).permutation(table.num_rows))

    monkeypatch.setattr(RunReader, "__call__", shuffled)
    with pytest.raises(RuntimeError, match="step 0 was given the rows of positions"):
        list(training_batches(data(info), range(BATCH), range(STEPS)))


def test_a_set_that_fits_in_memory_is_kept_there_unless_told_otherwise(
    info: DatasetInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data(info, "auto").resident
    assert data(info, "resident").resident
    assert not data(info, "streaming").resident
    monkeypatch.setattr(stream, "_RESIDENT_BYTES", NUM * 64 - 1)
    assert not data(info, "auto").resident
    assert data(info, "resident").resident


def test_no_step_is_left_at_the_end_and_nothing_is_read(info: DatasetInfo) -> None:
    nowhere = replace(data(info), info=replace(info, path=info.path / "nowhere"))
    assert list(training_batches(nowhere, range(BATCH), range(STEPS, STEPS))) == []


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_streams_order_is_its_own_and_changes_no_other_dataset(info: DatasetInfo) -> None:
    next(training_batches(data(info), range(BATCH), range(STEPS)))
    assert not ray.data.DataContext.get_current().execution_options.preserve_order
