"""Checks that the rows of a set are numbered consecutively over all files."""

import numpy as np
from numpy.typing import NDArray

from pipeline.verification.faults import Faults
from pipeline.verification.file_check import ListedFile
from pipeline.verification.listing import Listing

_KIND = "rows that are not numbered through"


class Numbering:
    """Checks the numbers of the rows, file by file.

    In every file they must ascend. In sample and perturbation sets, a shard and its quarantine must
    together hold the numbers that follow those of the shard before, each once.
    """

    def __init__(self, listing: Listing, faults: Faults) -> None:
        self._faults = faults
        self._through = listing.numbers is not None
        self._next, self._stop = listing.numbers or (0, 0)
        self._manifest = listing.manifest
        self._part: tuple[int, str] | None = None
        self._pending: list[tuple[ListedFile, NDArray[np.int64] | None]] = []

    def add(self, file: ListedFile, numbers: NDArray[np.int64] | None) -> None:
        """Takes the next file.

        Args:
            numbers: of its rows, None where they could not be read.
        """
        if numbers is not None and file.rows.number is not None:
            self._check_order(file, numbers)
        if self._through:
            if file.part != self._part:
                self._close()
                self._part = file.part
            self._pending.append((file, numbers))

    def end(self) -> None:
        """Checks what needs all files."""
        if self._through:
            self._close()
            if self._next != self._stop:
                what = f"covers rows up to {self._stop}, and its files those up to {self._next}"
                self._faults.add(_KIND, self._manifest, what)

    def _check_order(self, file: ListedFile, numbers: NDArray[np.int64]) -> None:
        for row in np.flatnonzero(np.diff(numbers) <= 0) + 1:
            what = f"{file.rows.number} is {numbers[row]} after {numbers[row - 1]}"
            self._faults.add(_KIND, file.shard.file, what, int(row))

    def _close(self) -> None:
        """Checks the part whose files are pending: each of its numbers once."""
        files = [file for file, _ in self._pending]
        readable = [numbers for _, numbers in self._pending if numbers is not None]
        if len(readable) < len(files):  # a fault is noted already: go on as if the file were whole
            self._next += sum(file.shard.num_rows for file in files)
        elif files:
            numbers = np.concatenate(readable)
            owner = np.repeat(np.arange(len(files)), [len(part) for part in readable])
            row = np.concatenate([np.arange(len(part)) for part in readable])
            order = np.argsort(numbers, kind="stable")
            expected = np.concatenate([[self._next], numbers[order] + 1])
            for place in np.flatnonzero(numbers[order] != expected[:-1]):
                index = order[place]
                file = files[owner[index]]
                what = f"{file.rows.number} is {numbers[index]} where {expected[place]} follows"
                self._faults.add(_KIND, file.shard.file, what, int(row[index]))
            self._next = int(expected[-1])
        self._pending.clear()
