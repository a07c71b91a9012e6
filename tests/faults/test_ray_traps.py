"""What Ray 2.60 does quietly to rows, and that it does not to ours.

A test named `test_ray_...` shows a trap in plain Ray. When it fails, Ray was mended, and what we do
about the trap may go.
"""

import ast
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numbers_worker
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import ray
import ray.cloudpickle
import ray.data
from digit_set import write_digits
from numbers_worker import Numbers, shards
from ray.data._internal.execution.streaming_executor import StreamingExecutor
from training_runs import ROOT

from jobs.common import stream
from jobs.common.batches import Batch
from jobs.common.pools import Pool, pool_sizes
from jobs.common.sharded import run_shards
from jobs.common.stream import RunReader, TrainingData, training_batches
from jobs.common.training import _interruptible
from pipeline.formats.dataset import DatasetInfo
from pipeline.pictures import to_signed
from pipeline.training.stream import Order

NUM, BATCH = 130, 8
STEPS = 3 * NUM // BATCH  # three epochs
ORDER = Order((30, 30, 30, 30, 10), seed=7, batch_size=BATCH, steps_per_group=6, window_rows=20)

# Ray's workers cannot import a test's modules: ship what is in them by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
ray.cloudpickle.register_pickle_by_value(numbers_worker)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> DatasetInfo:
    path = tmp_path_factory.mktemp("traps") / "digits"
    return write_digits(path, num_train=NUM, num_test=10, shard_rows=30)


@pytest.fixture
def several_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a large set has them."""
    monkeypatch.setattr(stream, "_ROWS_A_TASK", 60)
    monkeypatch.setattr(stream, "_SHARDS_A_TASK", 2)


@pytest.fixture
def executions(monkeypatch: pytest.MonkeyPatch) -> list[StreamingExecutor]:
    """Ray Data's executions in this process, as they start."""
    execute, seen = StreamingExecutor.execute, []

    def noted(self: StreamingExecutor, *args: object, **options: object) -> object:
        seen.append(self)
        return execute(self, *args, **options)

    monkeypatch.setattr(StreamingExecutor, "execute", noted)
    return seen


def data(info: DatasetInfo, mode: stream.DataMode = "streaming") -> TrainingData:
    return TrainingData(info, "train", ORDER, mode, labelled=True)


def numbers(rows: object) -> list[int]:
    return [row["id"] for row in rows]  # type: ignore[attr-defined]


def let_others_overtake(ids: np.ndarray, overtaken: Path) -> None:
    """Holds the block of id 4 until one behind it is at work, and half a second more."""
    if ids.min() > 4:
        overtaken.touch()
    end = time.monotonic() + 20
    while 4 in ids and not overtaken.exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.5 if 4 in ids else 0)


def batches(info: DatasetInfo, steps: range) -> list[Batch]:
    return list(training_batches(data(info), range(BATCH), steps))


def names_in_our_code() -> set[str]:
    """Every name, attribute, keyword and imported module that our packages mention."""
    found = set()
    for package in ("jobs", "noisestack", "pipeline", "serve"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                match node:
                    case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=name):
                        found.add(name)
                    case ast.ImportFrom(module=name):
                        found |= {name, *(alias.name for alias in node.names)}
                    case ast.Import():
                        found |= {alias.name for alias in node.names}
    return found


# --- One-block Parquet


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ray_one_block_parquet_reads_eight_files_as_one(tmp_path: Path) -> None:
    for number in range(8):
        rows = np.arange(20 * number, 20 * number + 20)
        pa.parquet.write_table(pa.table({"id": rows}), tmp_path / f"part-{number}.parquet")
    assert ray.data.read_parquet(str(tmp_path)).materialize().num_blocks() == 1


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster", "several_tasks")
@pytest.mark.parametrize(("mode", "tasks"), [("resident", 2), ("streaming", 6)])
def test_one_block_parquet_our_stream_is_read_by_several_tasks(
    info: DatasetInfo, executions: list[StreamingExecutor], mode: stream.DataMode, tasks: int
) -> None:
    list(training_batches(data(info, mode), range(BATCH), range(STEPS)))
    (execution,) = executions
    (reading,) = [op for op in execution._topology if "MapBatches" in op.name]  # type: ignore[union-attr]
    assert reading.metrics.num_tasks_finished == tasks


# --- The dropped remainder


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ray_dropped_remainder_an_equal_split_leaves_rows_out() -> None:
    @ray.remote
    def count(part: ray.data.DataIterator) -> int:
        return len(numbers(part.iter_rows()))

    parts = ray.data.range(20).streaming_split(3, equal=True)
    assert sum(ray.get([count.remote(part) for part in parts])) == 18


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_dropped_remainder_three_workers_are_given_every_row(info: DatasetInfo) -> None:
    rows = [range(3), range(3, 6), range(6, BATCH)]  # of 8: no equal parts
    given = sum(
        len(batch["label"])
        for part in rows
        for batch in training_batches(data(info), part, range(STEPS))
    )
    assert given == STEPS * BATCH


def test_dropped_remainder_no_dataset_is_given_to_ray_train_to_split() -> None:
    assert not {"streaming_split", "get_dataset_shard", "dataset_config"} & names_in_our_code()


# --- The replayed shuffle order


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ray_replayed_shuffle_order_a_plain_seed_gives_each_epoch_the_same() -> None:
    dataset = ray.data.range(32).random_shuffle(seed=7)
    assert numbers(dataset.iter_rows()) == numbers(dataset.iter_rows())


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster", "several_tasks")
def test_replayed_shuffle_order_a_restart_goes_on_where_it_was_and_epochs_differ(
    info: DatasetInfo,
) -> None:
    whole = batches(info, range(STEPS))
    assert not all(
        np.array_equal(one["image"], other["image"])
        for one, other in zip(whole[: STEPS // 3], whole[STEPS // 3 :], strict=False)
    )
    for start in (1, STEPS // 2):
        for one, other in zip(batches(info, range(start, STEPS)), whole[start:], strict=True):
            assert np.array_equal(one["image"], other["image"])


# --- preserve_order


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ray_preserve_order_without_it_blocks_come_as_they_are_done(tmp_path: Path) -> None:
    def held(batch: Batch) -> Batch:
        let_others_overtake(batch["id"], tmp_path / "overtaken")
        return batch

    dataset = ray.data.range(16, override_num_blocks=16).map_batches(held)
    assert numbers(dataset.iter_rows()) != list(range(16))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster", "several_tasks")
@pytest.mark.parametrize("preserved", [True, False])
def test_preserve_order_keeps_a_slow_tasks_place_and_its_lack_is_noticed(
    info: DatasetInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preserved: bool
) -> None:
    quick, read = RunReader.__call__, stream._read

    def held(self: RunReader, batch: Batch) -> Iterator[pa.Table]:
        let_others_overtake(batch["id"], tmp_path / "overtaken")
        yield from quick(self, batch)

    def read_in_order(*what: Any, **how: Any) -> ray.data.Dataset:
        dataset = read(*what, **how)
        dataset.context.execution_options.preserve_order &= preserved
        return dataset

    monkeypatch.setattr(RunReader, "__call__", held)
    monkeypatch.setattr(stream, "_read", read_in_order)
    monkeypatch.setattr(stream, "_READERS", 2)  # one alone is never overtaken
    if preserved:
        assert len(batches(info, range(STEPS))) == STEPS
    else:
        with pytest.raises(RuntimeError, match="was given the rows of positions"):
            batches(info, range(STEPS))


# --- The first batch of every epoch


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("mode", ["resident", "streaming"])
def test_first_batch_of_every_epoch_three_epochs_are_one_execution(
    info: DatasetInfo, executions: list[StreamingExecutor], mode: stream.DataMode
) -> None:
    given = list(training_batches(data(info, mode), range(BATCH), range(STEPS)))
    assert len(given) == STEPS
    assert len(executions) == 1


# --- max_errored_blocks


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ray_max_errored_blocks_loses_rows_without_an_error() -> None:
    def broken(batch: Batch) -> Batch:
        if 3 in batch["id"]:
            raise ValueError("a bad row")
        return batch

    dataset = ray.data.range(20, override_num_blocks=10).map_batches(broken)
    dataset.context.max_errored_blocks = -1
    assert len(numbers(dataset.iter_rows())) == 18


def test_max_errored_blocks_is_never_set() -> None:
    assert "max_errored_blocks" not in names_in_our_code()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster", "several_tasks")
def test_max_errored_blocks_a_block_that_is_lost_ends_training(
    info: DatasetInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = RunReader.__call__

    def broken(self: RunReader, batch: Batch) -> Iterator[pa.Table]:
        if 2 in batch["id"]:
            raise ValueError("a bad row")
        yield from quick(self, batch)

    monkeypatch.setattr(RunReader, "__call__", broken)
    monkeypatch.setattr(ray.data.DataContext.get_current(), "max_errored_blocks", -1)
    with pytest.raises(RuntimeError, match="was given the rows of positions"):
        batches(info, range(STEPS))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_max_errored_blocks_a_shard_that_is_lost_ends_a_batch_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray.data.DataContext.get_current(), "max_errored_blocks", -1)
    pool = Pool(Numbers, {"output": tmp_path, "fail_at": 1, "how": "bug"}, num_workers=1)
    with pytest.raises(RuntimeError, match="shard 1 "):
        run_shards(pool, shards(3), tmp_path, describe="numbers")


# --- The pool that is starved of CPUs


@pytest.mark.parametrize("cpus", [2, 4, 64])
def test_starved_pool_one_cpu_of_the_cluster_stays_spare(cpus: int) -> None:
    assert pool_sizes([Pool(Numbers, {})], {"CPU": cpus}) == [cpus - 1]
    half = Pool(Numbers, {}, cpus_per_worker=0.5)
    assert pool_sizes([half, half], {"CPU": cpus}) == [cpus - 1, cpus - 1]


# --- Ray's own checkpoints and writers


def test_from_items_job_checkpoints_are_not_used() -> None:
    assert not {"ray.data.checkpoint", "checkpoint_config"} & names_in_our_code()


def test_write_parquet_which_deletes_before_it_overwrites_is_not_used() -> None:
    assert not {"write_parquet", "SaveMode"} & names_in_our_code()


# --- Metrics through JSON, batches that are read-only
# (Workers that change directory: tests/jobs/test_train_stack.py.)


def test_checkpoint_metrics_through_json_none_are_given_to_ray_train() -> None:
    """It is told a step and no more; what is measured goes into lines of our own."""
    assert not {"Checkpoint", "checkpoint_upload_mode"} & names_in_our_code()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_read_only_batches_become_tensors_of_their_own() -> None:
    (batch,) = ray.data.range_tensor(4, shape=(2, 2, 1)).iter_batches()
    pictures = (batch["data"] * 40).astype(np.uint8)
    pictures.flags.writeable = False
    before = pictures.copy()
    to_signed(pictures).zero_()
    assert np.array_equal(pictures, before)


# --- Ctrl-C, which Ray Train makes a good end


def test_ctrl_c_in_training_is_an_interruption_and_the_handler_goes_with_it() -> None:
    def trained_until_ctrl_c() -> None:
        with _interruptible():
            signal.signal(signal.SIGINT, lambda *_: sys.exit(0))  # as Ray Train 2.60's own ends
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trained_until_ctrl_c()
    assert signal.getsignal(signal.SIGINT) is before
