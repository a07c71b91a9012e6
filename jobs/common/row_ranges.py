"""Shards as ranges of rows, counted and not stored: a million of them take no memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload


@dataclass(frozen=True)
class RowRanges(Sequence[dict[str, Any]]):
    """Shards that cover rows 0 to `stop`: index, file, start, stop (exclusive), num_rows.

    All have `rows_per_shard` rows, but for the last, which has what is left. `name` begins their
    files' names.
    """

    stop: int
    rows_per_shard: int
    name: str = "part"

    def __len__(self) -> int:
        return -(-self.stop // self.rows_per_shard)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        numbers = range(len(self))[index]
        return self._shard(numbers) if isinstance(numbers, int) else list(map(self._shard, numbers))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self._shard, range(len(self)))

    def _shard(self, index: int) -> dict[str, Any]:
        start = index * self.rows_per_shard
        stop = min(start + self.rows_per_shard, self.stop)
        return {
            "index": index,
            "file": f"{self.name}-{index:05d}.parquet",
            "start": start,
            "stop": stop,
            "num_rows": stop - start,
        }
