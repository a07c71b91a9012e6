"""Progress that a person can read: rows done, rows a second, time left."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_SECONDS = 5.0
_PART = 0.1
_AT_LEAST_SECONDS = 1.0
_SPEED_SECONDS = 0.5  # a speed over less is that of workers who happened to end together


class Progress:
    """Prints a line about every 5 s or 10 % of the rows, and one at the end.

    what: the words the line begins with. total: rows of the whole job. done: rows that an earlier
    run has finished; they count as done, but not for the speed. Neither does the time until the
    first rows come in: starting the workers takes seconds and would spoil every early estimate.
    """

    def __init__(
        self,
        what: str,
        total: int,
        done: int = 0,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total = what, total
        self._done = self._printed_done = done
        self._stream, self._clock = stream, clock
        self._start = self._printed = clock()
        self._first: tuple[float, int] | None = None  # when rows first came in; rows done by then
        if done:
            self._print(f"{what}: {done:,} of {total:,} rows are there from an earlier run")

    def add(self, rows: int) -> None:
        """Counts rows that were just finished."""
        self._done += rows
        now = self._clock()
        if self._done >= self._total:
            self._print(f"{self._line()}, {duration(now - self._start)} in all")
        elif self._first is None:
            self._first = (now, self._done)
        elif now - self._first[0] >= _SPEED_SECONDS and now - self._printed >= (
            _SECONDS if self._grown() < _PART else _AT_LEAST_SECONDS
        ):
            self._printed, self._printed_done = now, self._done
            speed = (self._done - self._first[1]) / max(now - self._first[0], 1e-9)
            left = duration((self._total - self._done) / max(speed, 1e-9))
            self._print(f"{self._line()}, {speed:,.0f} rows/s, {left} left")

    def _grown(self) -> float:
        return (self._done - self._printed_done) / self._total

    def _line(self) -> str:
        part = self._done / max(1, self._total)
        return f"{self._what}: {self._done:,} of {self._total:,} rows ({part:.0%})"

    def _print(self, line: str) -> None:
        print(line, file=self._stream or sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A length of time in words: "12 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
