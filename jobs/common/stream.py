"""The training stream on Ray Data: rows in the order of `pipeline.training.stream`.

One execution for the whole run: an epoch on Ray Data costs seconds before its first batch, a window
of a running execution costs a task.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data

from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.shard import iterate
from pipeline.training.stream import Window, windows

# Small windows share a task: at 10 ms a task, 8192 rows cost about a microsecond each.
_ROWS_A_TASK = 8192


class WindowReader:
    """Reads windows of the stream; what a Ray Data task runs, and testable without it."""

    def __init__(self, info: DatasetInfo, split: str, columns: list[str], seed: int) -> None:
        self._info, self._split, self._columns, self._seed = info, split, columns, seed

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[pa.Table]:
        """A table for each window: the columns and each row's ``position`` in the stream."""
        for number in range(len(batch["key"])):
            fields = {name: values[number] for name, values in batch.items()}
            shards = tuple(int(s) for s in fields.pop("shards"))
            yield self.read(Window(shards=shards, **{k: int(v) for k, v in fields.items()}))

    def read(self, window: Window) -> pa.Table:
        """The window's rows, in stream order."""
        shards = [self._info.splits[self._split][i] for i in window.shards]
        table = pa.concat_tables(iterate(self._info.path, shards, self._columns))
        table = table.combine_chunks().take(pa.array(window.order(self._seed)))
        positions = np.arange(window.position, window.position + window.take)
        return table.append_column("position", pa.array(positions))


def training_dataset(
    info: DatasetInfo,
    split: str,
    *,
    batch_size: int,
    num_steps: int,
    start_step: int,
    seed: int,
    columns: tuple[str, ...] = ("image", "label"),
) -> ray.data.Dataset:
    """Rows of steps ``start_step ... num_steps - 1``, in the stream's order.

    Columns: ``columns`` and int64 ``position``, the row's place in the endless stream.
    """
    shard_rows = [shard.num_rows for shard in info.splits[split]]
    wanted: list[dict[str, Any]] = [
        asdict(window)
        for window in windows(
            shard_rows, seed=seed, start=start_step * batch_size, stop=num_steps * batch_size
        )
    ]
    rows = (num_steps - start_step) * batch_size
    tasks = max(1, min(len(wanted), rows // _ROWS_A_TASK))
    dataset = ray.data.from_items(wanted, override_num_blocks=tasks).map_batches(
        WindowReader(info, split, list(columns), seed).__call__, batch_size=None
    )
    # Without it blocks, and batches that are fetched ahead, come as they are done.
    dataset.context.execution_options.preserve_order = True
    return dataset
