"""Batches of training rows as they travel, and those of a split that is in memory."""

from collections.abc import Iterator

import numpy as np

from pipeline.training.stream import Order

Batch = dict[str, np.ndarray]
EMBEDDED = "embedded"
"""The name of the rows' embeddings in a batch."""


def batches_of(columns: Batch, order: Order, rows: range, steps: range) -> Iterator[Batch]:
    """A worker's part of the batch of each step, of a split that is in memory.

    Args:
        columns: of all rows of the split, in the order of its shards.
        order, rows, steps: as in `training_batches`.
    """
    offsets = np.concatenate(([0], np.cumsum(order.shard_rows)))
    for run in order.runs(rows, steps):
        numbers = []
        for window in order.windows(run):
            laid_out = [np.arange(offsets[i], offsets[i + 1]) for i in window.shards]
            numbers.append(np.concatenate(laid_out)[window.order(order.seed)])
        wanted = np.concatenate(numbers)[run.order()].reshape(len(run.steps), len(rows))
        for own in wanted:
            yield {name: values[own] for name, values in columns.items()}


def parts_of(num_rows: int) -> Iterator[slice]:
    """Rows in parts of at most 128."""
    for start in range(0, num_rows, 128):
        yield slice(start, min(start + 128, num_rows))
