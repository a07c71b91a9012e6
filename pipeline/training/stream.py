"""The order in which training sees the data: a pure function of the seed, and endless.

The stream is cut into windows. In each epoch the shards are permuted and grouped into windows of a
few shards; in a window the rows are permuted. A window is small enough for one worker's memory, so
no step reads the whole set, and any position of the stream can be reached without the ones before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.chain.noise import keyed_permutation


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
        permuted = keyed_permutation(seed, self.key, self.rows)
        return permuted[self.skip : self.skip + self.take]


def windows(
    shard_rows: Sequence[int], *, seed: int, start: int, stop: int, window_rows: int = 65536
) -> Iterator[Window]:
    """The windows that cover stream positions ``[start, stop)``.

    Every epoch holds each row exactly once; epoch ``e`` is positions ``[e N, (e + 1) N)``.

    Args:
        shard_rows: rows of each shard.
        seed: keys the order.
        window_rows: shards are added to a window until it holds this many rows.
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
    for shard in keyed_permutation(seed, epoch << 25, len(shard_rows)):
        group.append(int(shard))
        held += shard_rows[shard]
        if held >= window_rows:
            yield tuple(group)
            group, held = [], 0
    if group:
        yield tuple(group)
