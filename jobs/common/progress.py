"""Progress that a person can read: rows done, rows a second, time left."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from pipeline.duration import duration

_SECONDS = 5.0
_PART = 0.1
_AT_LEAST_SECONDS = 1.0
_SPEED_SECONDS = 0.5  # a speed over less is that of workers who happened to end together


class Progress:
    """Prints a line about every 5 s or 10 % of the rows, and one at the end.

    Rows that an earlier run finished count as done, but not for the speed. Neither does the time
    until the first new rows come in: starting the workers takes seconds and would spoil every early
    estimate.

    Args:
        what: the words the line begins with.
        total: rows of the whole job.
        unit: what a row is called.
        counted: what else is counted and told, such as draws; none for nothing.
    """

    def __init__(
        self,
        what: str,
        total: int,
        *,
        unit: str = "rows",
        counted: str | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._counted, self._count = counted, 0
        self._done = self._printed_done = self._num_earlier = 0
        self._stream, self._clock = stream, clock
        self._start = self._printed = clock()
        self._first: tuple[float, int] | None = None  # when new rows first came in, and how many

    def add(self, rows: int, *, earlier: bool = False, count: int = 0) -> None:
        """Counts finished rows.

        Args:
            rows: how many.
            earlier: whether an earlier run finished them; they say nothing of the speed.
            count: of what is `counted`, how many they took.
        """
        self._done += rows
        self._count += count
        self._num_earlier += rows if earlier else 0
        now = self._clock()
        if self._done >= self._total:
            self._print(f"{self._line()}, {duration(now - self._start)} in all")
            return
        if self._first is None and not earlier:
            self._first = (now, self._num_new())
        since = now - (self._first[0] if self._first else self._start)
        due = _SECONDS if self._grown() < _PART else _AT_LEAST_SECONDS
        if since >= _SPEED_SECONDS and now - self._printed >= due:
            self._printed, self._printed_done = now, self._done
            self._print(self._line() + self._speed(now))

    def _speed(self, now: float) -> str:
        if self._first is None:
            return ""
        speed = (self._num_new() - self._first[1]) / max(now - self._first[0], 1e-9)
        left = duration((self._total - self._done) / max(speed, 1e-9))
        return f", {speed:,.0f} {self._unit}/s, {left} left"

    def _num_new(self) -> int:
        return self._done - self._num_earlier

    def _grown(self) -> float:
        return (self._done - self._printed_done) / self._total

    def _line(self) -> str:
        part = self._done / max(1, self._total)
        note = f", {self._num_earlier:,} of them from an earlier run" if self._num_earlier else ""
        done = f"{self._done:,} of {self._total:,} {self._unit}"
        counted = f", {self._count:,} {self._counted}" if self._counted else ""
        return f"{self._what}: {done} ({part:.0%}){note}{counted}"

    def _print(self, line: str) -> None:
        print(line, file=self._stream or sys.stderr, flush=True)
