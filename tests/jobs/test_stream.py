"""The training stream: the rows of `windows`, in order, from any step, on Ray Data."""

import numpy as np
import pytest
import ray.data
from digit_set import digits, write_digits

from jobs.common import stream
from jobs.common.stream import WindowReader, training_dataset
from pipeline.formats.dataset import DatasetInfo, images_of, labels_of
from pipeline.training.stream import windows

NUM, SEED, BATCH = 130, 7, 8
WINDOW_ROWS = 50


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> DatasetInfo:
    path = tmp_path_factory.mktemp("stream") / "digits"
    return write_digits(path, num_train=NUM, num_test=10, shard_rows=30)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several windows an epoch, and several tasks, as a large set has them."""

    def few_rows(shard_rows: list[int], **options: int) -> object:
        return windows(shard_rows, **options, window_rows=WINDOW_ROWS)  # type: ignore[arg-type]

    monkeypatch.setattr(stream, "windows", few_rows)
    monkeypatch.setattr(stream, "_ROWS_A_TASK", 60)


def expected_rows(info: DatasetInfo, start: int, stop: int) -> np.ndarray:
    """Row numbers of the train split, which `write_digits` lays out in shards of 30."""
    shards = [shard.num_rows for shard in info.splits["train"]]
    offsets = np.cumsum([0, *shards])
    parts = []
    for window in windows(shards, seed=SEED, start=start, stop=stop, window_rows=WINDOW_ROWS):
        laid_out = np.concatenate([np.arange(offsets[s], offsets[s + 1]) for s in window.shards])
        parts.append(laid_out[window.order(SEED)])
    return np.concatenate(parts)


def test_a_reader_gives_each_window_as_a_table_with_positions(info: DatasetInfo) -> None:
    shards = [shard.num_rows for shard in info.splits["train"]]
    wanted = list(windows(shards, seed=SEED, start=20, stop=200, window_rows=WINDOW_ROWS))
    batch = {
        name: np.array([getattr(w, name) for w in wanted])
        for name in ("key", "rows", "skip", "take", "position")
    }
    batch["shards"] = np.array([np.array(w.shards) for w in wanted] + [None], dtype=object)[:-1]
    tables = list(WindowReader(info, "train", ["image", "label"], SEED)(batch))
    assert [table.num_rows for table in tables] == [w.take for w in wanted]
    positions = np.concatenate([table["position"].to_numpy() for table in tables])
    assert np.array_equal(positions, np.arange(20, 200))
    images, labels = digits()
    rows = expected_rows(info, 20, 200)
    assert np.array_equal(np.concatenate([images_of(t) for t in tables]), images[rows])
    assert np.array_equal(np.concatenate([labels_of(t) for t in tables]), labels[rows])


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster", "small_windows")
@pytest.mark.parametrize("start_step", [0, 11, 39])
def test_the_stream_is_the_rows_of_the_windows_in_order_from_any_step(
    info: DatasetInfo, start_step: int
) -> None:
    images, labels = digits()
    rows = expected_rows(info, start_step * BATCH, 40 * BATCH)
    dataset = training_dataset(
        info, "train", batch_size=BATCH, num_steps=40, start_step=start_step, seed=SEED
    )
    # more batches are fetched ahead than one thread formats: they must not overtake each other
    batches = list(dataset.iter_batches(batch_size=BATCH, prefetch_batches=4))
    assert len(batches) == 40 - start_step
    positions = np.concatenate([batch["position"] for batch in batches])
    assert np.array_equal(positions, np.arange(start_step * BATCH, 40 * BATCH))
    assert np.array_equal(np.concatenate([batch["image"] for batch in batches]), images[rows])
    assert np.array_equal(np.concatenate([batch["label"] for batch in batches]), labels[rows])


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_streams_order_is_its_own_and_changes_no_other_dataset(info: DatasetInfo) -> None:
    training_dataset(info, "train", batch_size=BATCH, num_steps=2, start_step=0, seed=SEED)
    assert not ray.data.DataContext.get_current().execution_options.preserve_order
