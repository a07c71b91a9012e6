"""A random sample of a split that depends only on the seed and the rows' ids, not their order."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from heapq import nsmallest

import numpy as np
import pyarrow as pa

from pipeline.formats.dataset import DatasetInfo, shards_of
from pipeline.formats.shard import images_of, iterate, labels_of, read_part


@dataclass(frozen=True)
class Sample:
    """Some rows of a split, in keyed order.

    Attributes:
        ids: N strings.
        images: uint8 ``[N, H, W, C]``.
        labels: int64 ``[N]``; -1 without one.
        places: the shard and the row in it of each, int64 ``[N, 2]``.
    """

    ids: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    places: np.ndarray


def keyed_sample(
    info: DatasetInfo, split: str, num: int, seed: int, num_classes: int | None = None
) -> Sample:
    """Up to ``num`` random rows of a split: those with the lowest SHA-256 of the text ``seed:id``.

    In memory are ``num`` keys, ``num`` pictures and one shard.

    Args:
        info: the dataset.
        split: of the dataset.
        num: the most rows to take.
        seed: keys the choice.
        num_classes: only rows with a label below this number are taken; None takes any row.

    Raises:
        UserError: there is no such split, or a shard is damaged.
    """
    columns = ["id", "label"] if info.classes else ["id"]
    chosen = nsmallest(num, _keys(info, split, seed, columns, num_classes))
    shards = shards_of(info, split)
    ids = [""] * len(chosen)
    images = np.empty((len(chosen), *info.shape), np.uint8)
    labels = np.empty(len(chosen), np.int64)
    places = np.array([(number, row) for _, number, row in chosen], np.int64).reshape(-1, 2)
    for number in np.unique(places[:, 0]).tolist():
        shard = shards[number]
        at = np.flatnonzero(places[:, 0] == number)
        table = read_part(info.path / shard.file, 0, shard.num_rows, ["image", *columns])
        table = table.take(pa.array(places[at, 1])).combine_chunks()
        images[at], labels[at] = images_of(table), labels_of(table)
        for place, name in zip(at.tolist(), table.column("id").to_pylist(), strict=True):
            ids[place] = str(name)
    return Sample(tuple(ids), images, labels, places)


def sample_key(seed: int, row_id: object) -> bytes:
    """By which rows are chosen, the lowest first: the SHA-256 of the text ``seed:id``."""
    return sha256(f"{seed}:{row_id}".encode()).digest()


def _keys(
    info: DatasetInfo, split: str, seed: int, columns: list[str], num_classes: int | None
) -> Iterator[tuple[bytes, int, int]]:
    """The key, the shard and the row of each row that may be taken."""
    tables = iterate(info.path, shards_of(info, split), columns)
    for number, table in enumerate(tables):
        labels = labels_of(table)
        good = list(range(len(labels)))
        if num_classes is not None:
            good = np.flatnonzero((labels >= 0) & (labels < num_classes)).tolist()
        ids = table.column("id").to_pylist()
        for row in good:
            yield sample_key(seed, ids[row]), number, row
