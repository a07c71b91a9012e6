"""The training stream of one worker on Ray Data: its rows of each batch, in the order of `Order`.

Two ways to the same batches. `resident` reads the split once and keeps it in the worker's memory.
`streaming` is one execution for the whole run, read run by run: an epoch on Ray Data costs seconds
before its first batch, a run within a running execution costs a task. What was unpacked from
Parquet once lies as plain bytes on the reader's disk from then on, as far as there is room.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import pyarrow as pa
import ray.data

from jobs.common.batches import EMBEDDED, Batch, batches_of, parts_of
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.decoded import DecodedShards
from pipeline.formats.keyed_sample import keyed_sample
from pipeline.formats.row_embeddings import RowEmbeddings
from pipeline.formats.shard import image_column, images_of, iterate, labels_of
from pipeline.training.stream import Order, Run, Window

Reader = Callable[[dict[str, np.ndarray]], Iterator[pa.Table]]
DataMode = Literal["auto", "resident", "streaming"]

# Short runs share a task: at 10 ms a task, 8192 rows cost about a microsecond each.
_ROWS_A_TASK = 8192
_RESIDENT_BYTES = 1 << 30  # of pictures, in each worker; above it `auto` streams
CACHE_GB = 8.0  # of pictures, on the disk beside each worker that streams
# Of each worker that streams. One reads 100 MB/s unpacked from Parquet and 500 MB/s from its disk,
# faster than any network learns; a second one's run would wait in the object store for its turn: of
# a set of 2.1 GB and runs of 256 MiB, 941 MB were spilled from a store of 256 MiB.
_READERS = 1
_READERS_OF_RESIDENT = 2
_SHARDS_A_TASK = 16
# A run may be as large as a small object store: it goes there in blocks, as they are asked for.
_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class TrainingData:
    """What the workers of a run read. Goes to them by value.

    Attributes:
        info: the dataset.
        split: of the dataset.
        order: which rows each step sees.
        mode: see `training_batches`.
        labelled: whether labels are wanted.
        cache_gb: of unpacked pictures that streaming keeps on the disk beside the worker, in GiB.
        embeddings: of the rows, where the pictures are drawn on embeddings.
    """

    info: DatasetInfo
    split: str
    order: Order
    mode: DataMode
    labelled: bool
    cache_gb: float = CACHE_GB
    embeddings: RowEmbeddings | None = None

    @staticmethod
    def of(
        info: DatasetInfo,
        split: str,
        *,
        seed: int,
        batch_size: int,
        mode: DataMode,
        labelled: bool = True,
        cache_gb: float = CACHE_GB,
        embeddings: RowEmbeddings | None = None,
    ) -> "TrainingData":
        """The data of a split, in the order that the seed and the batch size give."""
        rows = [shard.num_rows for shard in info.splits[split]]
        row_bytes = prod(info.shape) + (embeddings.row_bytes if embeddings else 0)
        order = Order.of(rows, seed=seed, batch_size=batch_size, row_bytes=row_bytes)
        return TrainingData(info, split, order, mode, labelled, cache_gb, embeddings)

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return ["image", "label"] if self.labelled else ["image"]

    @property
    def resident(self) -> bool:
        """Whether the split is kept in each worker's memory."""
        if self.mode == "auto":
            extra = self.embeddings.row_bytes if self.embeddings else 0
            row_bytes = prod(self.info.shape) + extra
            return sum(self.order.shard_rows) * row_bytes <= _RESIDENT_BYTES
        return self.mode == "resident"

    def batches(self, rows: range, steps: range) -> Iterator[Batch]:
        """See `training_batches`."""
        return training_batches(self, rows, steps)

    def keyed_batches(self, num_rows: int, seed: int) -> Iterator[Batch]:
        """Some random rows that the seed alone decides, in batches as `training_batches` has."""
        drawn = keyed_sample(self.info, self.split, num_rows, seed)
        for rows in parts_of(len(drawn.ids)):
            batch = {"image": drawn.images[rows], "label": drawn.labels[rows]}
            if self.embeddings is not None:
                batch[EMBEDDED] = self.embeddings.at(drawn.places[rows])
            yield batch


def training_batches(data: TrainingData, rows: range, steps: range) -> Iterator[Batch]:
    """A worker's part of the batch of each step: image uint8 ``[N, H, W, C]``, label int64 ``[N]``.

    Where pictures are drawn on embeddings, these are there too: float16 ``[N, …]``, by the name
    `EMBEDDED`.

    Args:
        rows: the rows of each batch that this worker holds.
        steps: the steps still to be taken.

    Raises:
        RuntimeError: Ray Data gave other rows than the step's, or too few.
    """
    if len(steps) == 0:
        return
    yield from _resident(data, rows, steps) if data.resident else _streaming(data, rows, steps)


class RunReader:
    """Reads runs of the stream; what an actor of Ray Data does, and testable without it."""

    def __init__(self, data: TrainingData, rows: range, steps: range) -> None:
        self._data, self._runs = data, list(data.order.runs(rows, steps))
        self.num_runs = len(self._runs)
        self._shards = DecodedShards(
            data.info.path,
            data.info.splits[data.split],
            data.info.shape,
            columns=data.columns,
            limit=int(data.cache_gb * (1 << 30)),
        )

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[pa.Table]:
        """One table for each run whose number is in ``id``: its rows in the order of the steps.

        The column ``position`` is a row's place in the stream.
        """
        for number in batch["id"]:
            yield self.read(self._runs[int(number)])

    def read(self, run: Run) -> pa.Table:
        """The rows of a run; beside them only one window is in memory at a time."""
        data = self._data
        wanted = run.order()
        place = np.full(run.stop - run.start, -1)  # of each position in the table; -1: not wanted
        place[wanted] = np.arange(len(wanted))
        images = np.empty((len(wanted), *data.info.shape), np.uint8)
        labels = np.empty(len(wanted), np.int64)
        source = data.embeddings
        embedded = None if source is None else np.empty((len(wanted), *source.shape), np.float16)
        for window in data.order.windows(run):
            first = window.position - run.start
            places, order = place[first : first + window.take], window.order(data.order.seed)
            rows, places = order[places >= 0], places[places >= 0]
            read, answers = self._window(window)
            images[places], labels[places] = read[rows], answers[rows]
            if embedded is not None and source is not None:
                embedded[places] = np.concatenate([source.read(n) for n in window.shards])[rows]
        columns = {"image": image_column(images), "position": pa.array(run.start + wanted)}
        if data.labelled:
            columns["label"] = pa.array(labels)
        if embedded is not None:  # as bytes: Arrow's tensors of float16 do not come back from Ray
            columns[EMBEDDED] = image_column(embedded.view(np.uint8).reshape(len(wanted), 1, -1, 1))
        return pa.table(columns)

    def _window(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """The pictures and labels of a window's shards, end to end."""
        parts = [self._shards.read(number) for number in window.shards]
        if len(parts) == 1:
            return parts[0]
        images, labels = zip(*parts, strict=True)
        return np.concatenate(images), np.concatenate(labels)


def _streaming(data: TrainingData, rows: range, steps: range) -> Iterator[Batch]:
    reader = RunReader(data, rows, steps)
    tasks = max(1, min(reader.num_runs, len(steps) * len(rows) // _ROWS_A_TASK))
    blocks = _read(reader.num_runs, tasks, reader.__call__, keeps=True).iter_batches(
        batch_size=None, prefetch_batches=1
    )
    for step, batch in zip(steps, _rebatched(blocks, len(rows)), strict=False):
        expected = data.order.positions(rows, step)
        if not np.array_equal(batch["position"], expected):
            raise RuntimeError(
                f"step {step} was given the rows of positions {batch['position'][:3]}... and not "
                f"{expected[:3]}..."
            )
        if data.embeddings is not None:
            raw = np.ascontiguousarray(batch[EMBEDDED]).reshape(len(rows), -1)
            batch[EMBEDDED] = raw.view(np.float16).reshape(len(rows), *data.embeddings.shape)
        yield batch


def _rebatched(blocks: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Batches of ``size`` rows from blocks of any length; views where a batch lies in one block."""
    rest: Batch | None = None
    for block in blocks:
        joined = block
        if rest is not None:
            joined = {name: np.concatenate((rest[name], block[name])) for name in block}
        whole = len(joined["position"]) // size * size
        for start in range(0, whole, size):
            yield {name: values[start : start + size] for name, values in joined.items()}
        rest = {name: values[whole:] for name, values in joined.items()}
        if len(rest["position"]) == 0:
            rest = None


def _resident(data: TrainingData, rows: range, steps: range) -> Iterator[Batch]:
    columns = read_split(data)
    if data.embeddings is not None:
        columns[EMBEDDED] = data.embeddings.read_all()
    return batches_of(columns, data.order, rows, steps)


def read_split(data: TrainingData) -> Batch:
    """The whole split in memory, read once through Ray Data."""
    shards = data.info.splits[data.split]

    def read(batch: dict[str, np.ndarray]) -> Iterator[pa.Table]:
        yield from iterate(data.info.path, [shards[i] for i in batch["id"]], data.columns)

    tasks = max(1, len(shards) // _SHARDS_A_TASK)
    blocks = _read(len(shards), tasks, read, keeps=False).iter_batches(
        batch_size=None, batch_format="pyarrow"
    )
    table = pa.concat_tables(list(blocks))
    columns: Batch = {"image": images_of(table)}
    return {**columns, "label": labels_of(table)} if data.labelled else columns


class _Reading:
    """What an actor holds."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[pa.Table]:
        yield from self._reader(batch)


def _read(count: int, tasks: int, reader: Reader, *, keeps: bool) -> ray.data.Dataset:
    """The tables of the reader, which is given the numbers from 0 to ``count`` in some tasks.

    Args:
        keeps: whether what a reader keeps for the next task must still be there: then it lives in
            an actor, whose start costs some seconds; else in whichever of Ray's workers is idle.
    """
    numbers = ray.data.from_items([{"id": i} for i in range(count)], override_num_blocks=tasks)
    # No CPU of Ray's count: workers that hold them all would wait for their own data for ever.
    if keeps:
        dataset = numbers.map_batches(
            _Reading,
            fn_constructor_args=(reader,),
            batch_size=None,
            num_cpus=0,
            compute=ray.data.ActorPoolStrategy(size=min(_READERS, tasks)),
            # Beside the worker: what it reads elsewhere would cross the network once more.
            label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
        )
    else:
        dataset = numbers.map_batches(
            reader,
            batch_size=None,
            num_cpus=0,
            compute=ray.data.TaskPoolStrategy(size=min(_READERS_OF_RESIDENT, tasks)),
        )
    # Without it blocks, and batches that are fetched ahead, come as they are done.
    dataset.context.execution_options.preserve_order = True
    dataset.context.target_max_block_size = _BLOCK_BYTES
    return dataset
