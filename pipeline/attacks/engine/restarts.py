"""Which of the rows' restarts are due, which may go ahead of their turn, and which count.

A restart of a row does not depend on the row's restarts before it. So where few rows are left
and a call would be mostly padding, or mostly overhead, further restarts of the same rows go with
the first ones: nine classes are aimed at in one run of calls instead of nine. What a row comes to
is what it would come to in turn. The first of its restarts, in their order, to break it decides,
and what went ahead of that one and was to come after it is as if it had not been.
"""

from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor


class Restarts:
    """The restarts of N rows, each row's in the order of their numbers; the first is 0.

    Args:
        rows: those that are to begin at all, in this order.
        num_rows, restarts: N, and how often each may begin.
        device: of the tensors.
    """

    def __init__(
        self, rows: Iterable[int], num_rows: int, restarts: int, device: torch.device
    ) -> None:
        self._waiting = deque((row, 0) for row in rows)
        self._next: dict[int, int] = {}  # of each row in work: the number of its next restart
        self._in_work: dict[int, int] = {}  # of each row: how many of its restarts are
        self._tough: set[int] = set()  # rows of which a restart has come to its end
        self._last = torch.full((num_rows,), restarts - 1, device=device)

    def due(self, room: int) -> list[tuple[int, int]]:
        """Up to so many restarts that are due: row and restart of each."""
        new = [self._waiting.popleft() for _ in range(min(max(room, 0), len(self._waiting)))]
        for row, restart in new:
            self._begin(row, restart)
        return new

    def ahead(self, room: int, room_for_tough: int) -> list[tuple[int, int]]:
        """Up to so many that go ahead of their turn: the rows' next ones, the lowest first.

        Args:
            room: for those of any row; they are in vain where the row breaks before.
            room_for_tough: for those of rows that have withstood a restart to its end, of which
                few break later; ``room`` is part of it.
        """
        new: list[tuple[int, int]] = []
        if room_for_tough <= 0 or self._waiting:
            return new
        last = self._last.tolist()

        def may_begin(row: int) -> bool:
            limit = room_for_tough if row in self._tough else room
            return self._next[row] <= last[row] and len(new) < limit

        while open_rows := [row for row in self._in_work if may_begin(row)]:
            lowest = min(self._next[row] for row in open_rows)
            for row in open_rows:
                if self._next[row] == lowest and may_begin(row):
                    new.append((row, lowest))
                    self._begin(row, lowest)
        return new

    def counts(self, rows: Tensor, restarts: Tensor) -> Tensor:
        """Which of these restarts still count, bool ``[M]``: none of lower number broke the row.

        Args:
            rows, restarts: int64 ``[M]``.
        """
        return restarts <= self._last[rows]

    def has_broken(self, rows: Tensor, restarts: Tensor) -> None:
        """Notes that these restarts, int64 ``[M]``, broke their rows."""
        self._last.scatter_reduce_(0, rows, restarts, "amin")

    def end(self, rows: Tensor) -> None:
        """Notes that a restart of each of these rows, int64 ``[M]``, has ended.

        If it was the row's only running one, the row's next restart is due.
        """
        last = self._last.tolist()
        for row in rows.tolist():
            self._tough.add(row)
            self._in_work[row] -= 1
            if self._in_work[row] == 0:
                del self._in_work[row]
                if self._next[row] <= last[row]:
                    self._waiting.append((row, self._next[row]))

    def sum_of_counting(self, passes: Tensor) -> Tensor:
        """The passes of each row's restarts that count, of ``[N, restarts]``: int64 ``[N]``."""
        number = torch.arange(passes.shape[1], device=passes.device)
        return passes.where(number <= self._last[:, None], 0).sum(dim=1)

    def _begin(self, row: int, restart: int) -> None:
        self._next[row] = restart + 1
        self._in_work[row] = self._in_work.get(row, 0) + 1
