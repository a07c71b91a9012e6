"""The order in which training sees the data: a pure function of the seed, and endless.

The stream is cut into windows. In each epoch the shards are permuted and grouped into windows of a
few shards, and the rows of each window are permuted. A window fits into one worker's memory. So no
step reads the whole set, and any position of the stream can be reached without the ones before it.

A batch is not a run of the stream. ``S`` steps of ``B`` rows form a group, and row ``j`` of the
group's step ``s`` is the group's position ``j S + s``. So each batch mixes all windows of its
group, while a worker, which holds some rows of each batch, reads one run of the stream and no
windows of the others, however many workers there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.chain.permutation import Purpose, keyed_permutation

_GROUP_ROWS, _GROUP_BYTES = 65536, 256 << 20
# A worker among many, with a few rows of each batch, would read whole windows for them: then groups
# of more steps, as long as one worker alone could still hold them.
_MANY_STEPS, _MOST_BYTES = 64, 1 << 30
_WINDOWS_A_GROUP, _WINDOW_ROWS = 16, 2048  # a shard of `ingest`: what a run reads in vain is less


@dataclass(frozen=True)
class Window:
    """A run of the stream.

    Attributes:
        key: of the permutation, unique over the stream.
        shards: the shards whose rows it holds, in this order.
        rows: how many rows they hold.
        skip: rows of the permuted window that come before the wanted part.
        take: rows of the wanted part.
        position: the stream position of the first row taken.
    """

    key: int
    shards: tuple[int, ...]
    rows: int
    skip: int
    take: int
    position: int

    def order(self, seed: int) -> np.ndarray:
        """The rows to take, as indices into the shards laid end to end, int64 ``[take]``."""
        permuted = keyed_permutation(seed, self.key, Purpose.ORDER, self.rows)
        return permuted[self.skip : self.skip + self.take]


@dataclass(frozen=True)
class Run:
    """What one worker reads for the steps of one group.

    Attributes:
        steps: the steps that it is for, all of one group.
        start, stop: the positions to read, ``[start, stop)``.
        num_rows: rows of each batch that the worker holds.
        first: the place of ``steps`` in the group.
        steps_per_group: ``S``.
    """

    steps: range
    start: int
    stop: int
    num_rows: int
    first: int
    steps_per_group: int

    def order(self) -> np.ndarray:
        """The rows of the run in the order of the steps, as int64 indices from ``start``."""
        read = np.arange(self.stop - self.start).reshape(self.num_rows, self.steps_per_group)
        wanted = read[:, self.first : self.first + len(self.steps)]
        return np.ascontiguousarray(wanted.T).reshape(-1)


@dataclass(frozen=True)
class Order:
    """Which rows each step of a training run sees, on any number of workers.

    Attributes:
        shard_rows: rows of each shard of the split.
        seed: keys the order.
        batch_size: ``B``, over all workers.
        steps_per_group: ``S``.
        window_rows: see `windows`.
    """

    shard_rows: tuple[int, ...]
    seed: int
    batch_size: int
    steps_per_group: int
    window_rows: int

    @staticmethod
    def of(shard_rows: Sequence[int], *, seed: int, batch_size: int, row_bytes: int) -> "Order":
        """The order for a set: groups as large as a worker's memory and the set allow.

        Args:
            shard_rows: rows of each shard of the split.
            seed: keys the order.
            batch_size: ``B``, over all workers.
            row_bytes: the size of a picture.

        Raises:
            ValueError: the split is empty.
        """
        num_rows = sum(shard_rows)
        if num_rows == 0:
            raise ValueError("an empty data set has no stream")
        group = max(
            min(_GROUP_ROWS, _GROUP_BYTES // row_bytes),
            min(_MANY_STEPS * batch_size, _MOST_BYTES // row_bytes),
        )
        # No longer than an epoch: else a batch would hold the same row more than once or twice.
        steps = max(1, min(group, num_rows) // batch_size)
        window = max(1, min(steps * batch_size // _WINDOWS_A_GROUP, _WINDOW_ROWS))
        return Order(tuple(shard_rows), seed, batch_size, steps, window)

    def runs(self, rows: range, steps: range) -> Iterator[Run]:
        """The runs of a worker that holds ``rows`` of each batch of ``steps``, in order."""
        size = self.steps_per_group
        for group in range(steps.start // size, -(-steps.stop // size)):
            origin = group * size * self.batch_size
            first, last = max(steps.start, group * size), min(steps.stop, (group + 1) * size)
            yield Run(
                steps=range(first, last),
                start=origin + rows.start * size,
                stop=origin + rows.stop * size,
                num_rows=len(rows),
                first=first - group * size,
                steps_per_group=size,
            )

    def windows(self, run: Run) -> Iterator["Window"]:
        """The windows that a run is read from."""
        return windows(
            self.shard_rows,
            seed=self.seed,
            start=run.start,
            stop=run.stop,
            window_rows=self.window_rows,
        )

    def positions(self, rows: range, step: int) -> np.ndarray:
        """The stream's positions of ``rows`` of a step's batch, int64."""
        group, first = divmod(step, self.steps_per_group)
        origin = group * self.steps_per_group * self.batch_size + first
        return origin + self.steps_per_group * np.arange(rows.start, rows.stop)


def windows(
    shard_rows: Sequence[int], *, seed: int, start: int, stop: int, window_rows: int = 65536
) -> Iterator[Window]:
    """The windows that cover stream positions ``[start, stop)``.

    Every epoch holds each row exactly once; epoch ``e`` is positions ``[e N, (e + 1) N)``.

    Args:
        shard_rows: rows of each shard.
        seed: keys the order.
        start, stop: the positions, end exclusive.
        window_rows: shards are added to a window until it holds this many rows.

    Raises:
        ValueError: the split is empty.
    """
    num_rows = sum(shard_rows)
    if num_rows == 0:
        raise ValueError("an empty data set has no stream")
    epoch = start // num_rows
    while epoch * num_rows < stop:
        position = epoch * num_rows
        for number, group in enumerate(_groups(shard_rows, seed, epoch, window_rows)):
            rows = sum(shard_rows[i] for i in group)
            first, last = max(start, position), min(stop, position + rows)
            if first < last:
                # 2**24 windows an epoch: keys stay below 2**64 for 2**39 epochs
                key = (epoch << 25) | (number << 1) | 1
                yield Window(key, group, rows, first - position, last - first, first)
            position += rows
        epoch += 1


def _groups(
    shard_rows: Sequence[int], seed: int, epoch: int, window_rows: int
) -> Iterator[tuple[int, ...]]:
    group: list[int] = []
    held = 0
    for shard in keyed_permutation(seed, epoch << 25, Purpose.ORDER, len(shard_rows)):
        group.append(int(shard))
        held += shard_rows[shard]
        if held >= window_rows:
            yield tuple(group)
            group, held = [], 0
    if group:
        yield tuple(group)
