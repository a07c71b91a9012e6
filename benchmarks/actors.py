"""One actor of a job beside two, by what the job's workers note of each call."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import alternate, median
from benchmarks.generate_throughput import Call, JobTimes, calls_of, note, whole_speed


def noted(
    worker: Callable[[dict[str, Any]], dict[str, Any]], shard: dict[str, Any], output: Path
) -> dict[str, Any]:
    """A worker's record of a shard, and a line about the call."""
    start = time.time()
    record = worker(shard)
    note(output, Call(os.getpid(), 0, start, time.time(), record["num_rows"]))
    return record


def timed(job: Callable[[], object], output: Path) -> JobTimes:
    """A job whose workers note their calls, run to its end."""
    begun = time.time()
    job()
    ended = time.time()
    calls = calls_of(output)
    first, last = min(call.start for call in calls), max(call.stop for call in calls)
    return JobTimes(whole_speed(calls), first - begun, ended - last)


def one_beside_two(
    run: Callable[[int, Path], JobTimes], place: Path, repeats: int
) -> dict[str, float]:
    """Medians of the job with one actor and with two in turn, and their ratio.

    Args:
        run: of so many actors, into a directory.
        place: for the runs' outputs.
        repeats: of both.
    """
    jobs: dict[str, list[JobTimes]] = {"one": [], "two": []}

    def job(name: str, actors: int) -> None:
        jobs[name].append(run(actors, place / f"{name}-{len(jobs[name])}"))

    alternate({"one": lambda: job("one", 1), "two": lambda: job("two", 2)}, repeats)
    return figures(jobs)


def figures(jobs: Mapping[str, Sequence[JobTimes]]) -> dict[str, float]:
    """Medians, and their ratio: of the sides ``one`` and ``two``."""
    found: dict[str, float] = {}
    for name, runs in jobs.items():
        found[f"{name}_rows_per_second"] = median([run.samples_per_second for run in runs])
        found[f"{name}_startup_seconds"] = median([run.startup_seconds for run in runs])
        found[f"{name}_finish_seconds"] = median([run.finish_seconds for run in runs])
    return {
        **found,
        "ratio_two_actors": found["two_rows_per_second"] / found["one_rows_per_second"],
    }
