"""Rows of a set as a map-style data set of torch's; row groups are read when they are asked for."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from operator import index as as_index
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch.utils.data import Dataset

from pipeline.formats.shard import Shard, images_of, open_parquet, read_part
from pipeline.pictures import to_unit


class TorchRows(Dataset[tuple[Any, ...]]):
    """Tuples of a row's columns: pictures float32 ``[C, H, W]`` in [0, 1], the rest Python values.

    Each worker of a ``DataLoader`` has a cache of its own.

    Args:
        directory: the set's.
        shards: its files.
        columns: what an item is made of.
        rows: which of the set's rows these are, in order.
        cache_bytes: of row groups in memory, at most; the last one is kept whatever its size.
    """

    def __init__(
        self,
        directory: Path,
        shards: Sequence[Shard],
        columns: Sequence[str],
        rows: range,
        cache_bytes: int,
    ) -> None:
        self._directory, self._shards, self._columns = directory, tuple(shards), tuple(columns)
        self._rows, self._cache_bytes = rows, cache_bytes
        self._ends = list(accumulate(shard.num_rows for shard in shards))
        self._groups: dict[int, list[int]] = {}  # of a shard: where its row groups end
        self._cache: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        row = self._rows[as_index(index)]
        number = bisect_right(self._ends, row)
        place = row - (self._ends[number] - self._shards[number].num_rows)
        group = bisect_right(self._ends_of_groups(number), place)
        first = self._ends_of_groups(number)[group - 1] if group else 0
        table = self._group(number, group, first).slice(place - first, 1)
        return tuple(_value(table, name) for name in self._columns)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": OrderedDict()}

    def _ends_of_groups(self, number: int) -> list[int]:
        if number not in self._groups:
            with open_parquet(self._directory / self._shards[number].file) as file:
                sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            self._groups[number] = list(accumulate(sizes))
        return self._groups[number]

    def _group(self, number: int, group: int, first: int) -> pa.Table:
        key = (number, group)
        if key not in self._cache:
            stop = self._ends_of_groups(number)[group]
            path = self._directory / self._shards[number].file
            table = read_part(path, first, stop, list(dict.fromkeys(self._columns)))
            self._cache[key] = table.combine_chunks()
            while len(self._cache) > 1 and self._bytes() > self._cache_bytes:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _bytes(self) -> int:
        return sum(table.nbytes for table in self._cache.values())


def _value(table: pa.Table, name: str) -> Any:
    if isinstance(table.schema.field(name).type, pa.FixedShapeTensorType):
        return to_unit(images_of(table, name))[0]
    return table.column(name)[0].as_py()
