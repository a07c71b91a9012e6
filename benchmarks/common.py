"""What all benchmarks share: options, alternating repeats, process trees, one line of JSON."""

import argparse
import json
import math
import os
import platform
import statistics
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import psutil

from benchmarks import THREADS

LEAST_REPEATS = 5
_SAMPLE_SECONDS = 0.1
_VERSIONS = ("torch", "ray", "pyarrow", "numpy")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Options:
    """What every benchmark is told.

    Attributes:
        quick: sizes that only show that it works; its figures say nothing.
        repeats: how often each side is measured.
        folders: what a benchmark can be given ready-made, by name.
        numbers: how much of something, by name, where it was given.
    """

    quick: bool
    repeats: int
    folders: Mapping[str, Path] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)


def read_options(
    description: str | None,
    argv: Sequence[str] | None = None,
    *,
    folders: Mapping[str, str] | None = None,
    numbers: Mapping[str, str] | None = None,
) -> Options:
    """Options from a command line; `--quick` also makes the repeats two unless told otherwise.

    Args:
        folders: the names of what may be given ready-made as `--NAME DIR`, and what each is.
        numbers: the names of what may be given as `--NAME N`, at least 1, and what each counts.
    """
    folders, numbers = folders or {}, numbers or {}
    parser = argparse.ArgumentParser(description=description)
    for name, what in folders.items():
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=f"{what}; made if left out")
    for name, what in numbers.items():
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"how many {what}")
    parser.add_argument("--quick", action="store_true", help="see that it works, measure nothing")
    parser.add_argument("--repeats", type=int, help=f"of each side; {LEAST_REPEATS} by default")
    given = parser.parse_args(argv)
    repeats = given.repeats or (2 if given.quick else LEAST_REPEATS)
    if repeats < LEAST_REPEATS and not given.quick:
        parser.error(f"--repeats is at least {LEAST_REPEATS}, unless --quick")
    ready = {name: path for name in folders if (path := getattr(given, name)) is not None}
    counts = {name: vars(given)[name.replace("-", "_")] for name in numbers}
    counts = {name: count for name, count in counts.items() if count is not None}
    if counts and min(counts.values()) < 1:
        parser.error(f"{' and '.join(f'--{name}' for name in counts)} must be at least 1")
    return Options(given.quick, repeats, ready, counts)


def alternate(sides: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[Any]]:
    """Runs each side `repeats` times, in turn, every second round in the opposite order.

    So what changes slowly (heat, a neighbour's load) falls on all sides alike.
    """
    results: dict[str, list[Any]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name in list(sides) if repeat % 2 == 0 else reversed(list(sides)):
            results[name].append(sides[name]())
    return results


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones; ValueError without values."""
    return float(statistics.median(values))


def in_own_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """What `function(*arguments)` returns, run in a new process that ends with it.

    So no side pays for another's threads, memory or daemons. The function must be importable.

    Raises:
        RuntimeError: with the traceback of what the function raised.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_in_words, function, *arguments).result()


def _in_words(function: Callable[..., Result], *arguments: Any) -> Result:
    try:
        return function(*arguments)
    except Exception:  # Ray's own cannot be pickled
        raise RuntimeError(traceback.format_exc()) from None


@dataclass(frozen=True)
class Spent:
    """What a stretch of work took: wall time, and CPU time of the whole process tree."""

    wall_seconds: float
    cpu_seconds: float


class Stopwatch:
    """Wall and CPU time of this process tree since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), cpu_seconds()

    def spent(self) -> Spent:
        """Since the watch was made."""
        return Spent(time.perf_counter() - self._wall, cpu_seconds() - self._cpu)


def process_tree() -> list[psutil.Process]:
    """This process and all below it: a private Ray's daemons and workers are among them."""
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def cpu_seconds() -> float:
    """User and system time of this process tree, of children that ended and were waited for too."""
    total = 0.0
    for process in process_tree():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def hold_to_one_core() -> None:
    """Every thread of this process tree, and what it starts from now on, to one and the same core.

    Ray must be up by then: within one core its start can take longer than it allows itself.
    """
    core = min(os.sched_getaffinity(0))
    for process in process_tree():
        with suppress(psutil.NoSuchProcess):
            for thread in process.threads():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(thread.id, {core})


@dataclass
class PeakMemory:
    """Peaks of resident memory by role, in bytes, sampled while `watch_memory` is open.

    Attributes:
        rss: all resident pages; those of Ray's object store count in each process that maps them.
        private: without shared pages. A role with several processes counts their sum.
    """

    rss: dict[str, int] = field(default_factory=dict)
    private: dict[str, int] = field(default_factory=dict)

    def sample(self, role_of: Callable[[psutil.Process], str]) -> None:
        """Takes one sample of every process."""
        rss: dict[str, int] = {}
        private: dict[str, int] = {}
        for process in process_tree():
            try:
                role, memory = role_of(process), process.memory_info()
            except psutil.NoSuchProcess:
                continue
            rss[role] = rss.get(role, 0) + memory.rss
            private[role] = private.get(role, 0) + memory.rss - memory.shared
        for peaks, now in ((self.rss, rss), (self.private, private)):
            for role, size in now.items():
                peaks[role] = max(peaks.get(role, 0), size)


@contextmanager
def sampling(look: Callable[[], None], seconds: float) -> Iterator[None]:
    """Calls `look` every so many seconds from a thread, until it is left."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(seconds):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def watch_memory(role_of: Callable[[psutil.Process], str]) -> Iterator[PeakMemory]:
    """Samples the process tree about ten times a second, and at both ends, until it is left."""
    peaks = PeakMemory()
    peaks.sample(role_of)
    try:
        with sampling(lambda: peaks.sample(role_of), _SAMPLE_SECONDS):
            yield peaks
    finally:
        peaks.sample(role_of)


def machine() -> dict[str, Any]:
    """The machine and the versions: absolute figures mean nothing without them."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "threads": THREADS,
        "python": platform.python_version(),
        **{name: version(name) for name in _VERSIONS},
    }


def report(
    name: str,
    figures: Mapping[str, Any],
    *,
    options: Options,
    targets: Mapping[str, float],
    limits: Mapping[str, float] | None = None,
) -> None:
    """Prints the benchmark's one JSON object, which must be the last line of its output.

    Args:
        figures: flat; names end in their unit, comparisons begin with `ratio_` and are above 1
            where ours is better.
        targets: what a figure must reach.
        limits: what it must not pass.

    Raises:
        ValueError: a ratio is not a finite number, or a target names no figure.
    """
    limits = limits or {}
    for key, value in figures.items():
        if key.startswith("ratio_") and not math.isfinite(value):
            raise ValueError(f"{key} is {value}")
    if missing := (targets.keys() | limits.keys()) - figures.keys():
        raise ValueError(f"{', '.join(sorted(missing))} was not measured")
    line = {
        "benchmark": name,
        "quick": options.quick,
        "repeats": options.repeats,
        **figures,
        "targets": dict(targets),
        "limits": dict(limits),
        "machine": machine(),
    }
    print(json.dumps(line, allow_nan=False), flush=True)


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor()
