"""Faults of files: a few of each kind in full, the others counted."""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it should be.

    Attributes:
        file: relative to the directory that was looked at.
        row: number in that file, None for all of it.
        what: what is wrong.
    """

    file: str
    row: int | None
    what: str

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file}: row {self.row}"
        return f"{where}: {self.what}"


class Faults:
    """Collects faults by kind: `limit` of each kind in full, the others counted.

    Its length is the number of all faults.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._faults: dict[str, list[Fault]] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, kind: str, file: str, what: str, row: int | None = None) -> None:
        """Notes a fault.

        Args:
            kind: a few words that all faults of the kind share.
        """
        self._counts[kind] += 1
        kept = self._faults.setdefault(kind, [])
        if len(kept) < self.limit:
            kept.append(Fault(file, row, what))

    def take(self, others: "Faults") -> None:
        """Adds the faults of another collection."""
        for kind, faults in others._faults.items():
            kept = self._faults.setdefault(kind, [])
            kept += faults[: self.limit - len(kept)]
        self._counts.update(others._counts)

    def lines(self) -> list[str]:
        """One line for each fault in full, by kind, and one for the others of a kind."""
        lines = []
        for kind, faults in self._faults.items():
            lines += [str(fault) for fault in faults]
            if more := self._counts[kind] - len(faults):
                lines.append(f"... and {more:,} more: {kind}")
        return lines
