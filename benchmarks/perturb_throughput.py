"""How much faster are two actors of `perturb` than one?

The trained classifier of `attack_speed` and PGD, whose rows cost about as much each; every process
has one torch thread, and each actor a core. Speeds are from the end of an actor's first call to the
end of its last, as in `generate_throughput`: what comes before (Ray, the processes, imports, the
classifier) and what a first call prepares are told apart.
"""

import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.actors import noted, one_beside_two, timed
from benchmarks.classifiers import FOLDERS, Subject, subjects
from benchmarks.common import read_options, report
from benchmarks.generate_throughput import JobTimes
from jobs import perturb
from jobs.perturb.config import PerturbConfig
from pipeline.perturbation.perturber import Perturber

SHARD_ROWS, QUICK_SHARD_ROWS = 256, 16
SHARDS, QUICK_SHARDS = 6, 2  # an actor; the first is start-up


class TimedPerturber(Perturber):
    """The job's worker, and a line about each call."""

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        return noted(super().__call__, shard, self._place.output)


def run_job(subject: Subject, output: Path, shards: int, rows: int, actors: int) -> JobTimes:
    """The job as a person runs it, with a Ray of its own."""
    config = PerturbConfig(
        dataset=subject.dataset,
        classifier=str(subject.folder),
        output=output,
        split=subject.split,
        limit=shards * rows,
        eps=subject.levels / 255,
        rows_per_shard=rows,
        num_workers=actors,
    )
    return timed(lambda: perturb.main(config), output)


def main() -> None:
    """Measures both sides in turn and prints the figures as one line of JSON, the last."""
    options = read_options(__doc__, folders=FOLDERS)
    rows, shards = (
        (QUICK_SHARD_ROWS, QUICK_SHARDS) if options.quick else (SHARD_ROWS, SHARDS)
    )  # fmt: skip
    with (
        patch.object(perturb, "Perturber", TimedPerturber),
        tempfile.TemporaryDirectory(prefix="perturb-") as directory,
    ):
        place = Path(directory)
        subject = subjects(options, place)["trained"]

        found = one_beside_two(
            lambda actors, output: run_job(subject, output, actors * shards, rows, actors),
            place,
            options.repeats,
        )
    report(
        "perturb_throughput",
        {"rows_per_shard": rows, "shards_per_actor": shards, **found},
        options=options,
        targets={"ratio_two_actors": 1.9},
    )


if __name__ == "__main__":
    main()
