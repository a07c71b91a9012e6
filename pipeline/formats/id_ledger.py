"""Finds ids that come twice, among any number of ids, in bounded memory."""

import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

ROWS_IN_MEMORY = 1 << 20
_MOST_PARTS = 256
_WIDTH = 3  # two halves of the digest, and the position


def digests_of(ids: pa.Array | pa.ChunkedArray) -> NDArray[np.uint64]:
    """128 bits of BLAKE2b for each id (strings, none of them null), uint64 [N, 2].

    Two different ids among 10⁹ have the same ones with a probability of 10⁻²¹.
    """
    digests = b"".join(
        blake2b(value, digest_size=16).digest() for value in ids.cast(pa.binary()).to_pylist()
    )
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)


class IdLedger:
    """Takes ids as digests, each with its position, and reports those that came before.

    The digests are spread by their value over temporary files, 24 bytes a row, so that equal ones
    are in one file. The files are then sorted one by one, with about `rows_in_memory` rows in
    memory at 60 to 80 bytes each (80 MB by default). There are at most 256 files: beyond 268
    million rows their size, and the memory, grow in proportion (300 MB at 10⁹).

    Args:
        expected: the approximate number of rows.
    """

    def __init__(self, expected: int, rows_in_memory: int = ROWS_IN_MEMORY) -> None:
        parts = min(_MOST_PARTS, expected // rows_in_memory + 1)
        self._folder = tempfile.TemporaryDirectory(prefix="noisestack-ids-")
        self._files: list[BinaryIO] = [
            open(Path(self._folder.name) / str(part), "w+b")  # noqa: SIM115  # closed by __exit__
            for part in range(parts)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()
        self._folder.cleanup()

    def add(self, digests: NDArray[np.uint64], positions: NDArray[np.int64]) -> None:
        """Takes ids.

        Args:
            digests: uint64 [N, 2].
            positions: int64 [N], to report.
        """
        rows = np.column_stack([digests, positions.astype(np.uint64)])
        parts = rows[:, 0] % np.uint64(len(self._files))
        order = np.argsort(parts)
        stops = np.cumsum(np.bincount(parts.astype(np.int64), minlength=len(self._files)))
        for file, start, stop in zip(self._files, [0, *stops], stops, strict=False):
            file.write(rows[order[start:stop]].tobytes())

    def repeats(self) -> Iterator[tuple[int, int]]:
        """For each id that came before: its position, and the nearest position before it."""
        for file in self._files:
            file.seek(0)
            rows = np.fromfile(file, np.uint64).reshape(-1, _WIDTH)
            rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
            again = np.flatnonzero((rows[1:, :2] == rows[:-1, :2]).all(axis=1))
            for index in again:
                yield int(rows[index + 1, 2]), int(rows[index, 2])
