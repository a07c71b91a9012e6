"""How much faster are two actors of `perturb` than one?

The trained classifier of `attack_speed` and PGD, whose rows cost about as much each; every process
has one torch thread, and each actor a core. Speeds are from the end of an actor's first call to the
end of its last, as in `generate_throughput`: what comes before (Ray, the processes, imports, the
classifier) and what a first call prepares are told apart.
"""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.classifiers import FOLDERS, Subject, subjects
from benchmarks.common import alternate, median, read_options, report
from benchmarks.generate_throughput import Call, JobTimes, calls_of, note, whole_speed
from jobs import perturb
from jobs.perturb.config import PerturbConfig
from pipeline.perturbation.perturber import Perturber

SHARD_ROWS, QUICK_SHARD_ROWS = 256, 16
SHARDS, QUICK_SHARDS = 6, 2  # an actor; the first is start-up


class TimedPerturber(Perturber):
    """The job's worker, and a line about each call."""

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        start = time.time()
        record = super().__call__(shard)
        note(self._place.output, Call(os.getpid(), 0, start, time.time(), record["num_rows"]))
        return record


def run_job(subject: Subject, output: Path, shards: int, rows: int, actors: int) -> JobTimes:
    """The job as a person runs it, with a Ray of its own."""
    begun = time.time()
    perturb.main(
        PerturbConfig(
            dataset=subject.dataset,
            classifier=str(subject.folder),
            output=output,
            split=subject.split,
            limit=shards * rows,
            eps=subject.levels / 255,
            rows_per_shard=rows,
            num_workers=actors,
        )
    )
    ended = time.time()
    calls = calls_of(output)
    first, last = min(call.start for call in calls), max(call.stop for call in calls)
    return JobTimes(whole_speed(calls), first - begun, ended - last)


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


def main() -> None:
    """Measures both sides in turn and prints the figures as one line of JSON, the last."""
    options = read_options(__doc__, folders=FOLDERS)
    rows, shards = (
        (QUICK_SHARD_ROWS, QUICK_SHARDS) if options.quick else (SHARD_ROWS, SHARDS)
    )  # fmt: skip
    jobs: dict[str, list[JobTimes]] = {"one": [], "two": []}
    with (
        patch.object(perturb, "Perturber", TimedPerturber),
        tempfile.TemporaryDirectory(prefix="perturb-") as directory,
    ):
        place = Path(directory)
        subject = subjects(options, place)["trained"]

        def job(name: str, actors: int) -> None:
            output = place / f"{name}-{len(jobs[name])}"
            jobs[name].append(run_job(subject, output, actors * shards, rows, actors))

        alternate({"one": lambda: job("one", 1), "two": lambda: job("two", 2)}, options.repeats)
    report(
        "perturb_throughput",
        {"rows_per_shard": rows, "shards_per_actor": shards, **figures(jobs)},
        options=options,
        targets={"ratio_two_actors": 1.9},
    )


if __name__ == "__main__":
    main()
