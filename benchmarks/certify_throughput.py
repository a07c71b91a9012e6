"""How much faster are two actors of `certify` than one?

The natural classifier of `attack_speed` with a fixed number of draws, so that all rows cost the
same; every process has one torch thread, and each actor a core. Speeds are from the end of an
actor's first call to the end of its last, as in `generate_throughput`: what comes before (Ray, the
processes, imports, the classifier) is told apart.
"""

import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.actors import noted, one_beside_two, timed
from benchmarks.classifiers import FOLDERS, Subject, subjects
from benchmarks.common import read_options, report
from benchmarks.generate_throughput import JobTimes
from jobs import certify
from jobs.certify import task
from jobs.certify.config import CertifyConfig
from pipeline.certification.certifier import Certifier

SIGMA = 0.25
DRAWS, QUICK_DRAWS = 1000, 100  # a row, beside the 100 that choose its class
SHARD_ROWS, QUICK_SHARD_ROWS = 16, 4
SHARDS, QUICK_SHARDS = 6, 2  # an actor; the first is start-up


class TimedCertifier(Certifier):
    """The job's worker, and a line about each call."""

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        return noted(super().__call__, shard, self._output)


def run_job(subject: Subject, output: Path, *, shards: int, quick: bool, actors: int) -> JobTimes:
    """The job as a person runs it, with a Ray of its own."""
    rows = QUICK_SHARD_ROWS if quick else SHARD_ROWS
    config = CertifyConfig(
        dataset=subject.dataset,
        classifier=str(subject.folder),
        output=output,
        split=subject.split,
        limit=shards * rows,
        sigma=SIGMA,
        n=QUICK_DRAWS if quick else DRAWS,
        rows_per_shard=rows,
        num_workers=actors,
    )
    return timed(lambda: certify.main(config), output)


def main() -> None:
    """Measures both sides in turn and prints the figures as one line of JSON, the last."""
    options = read_options(__doc__, folders=FOLDERS)
    shards = QUICK_SHARDS if options.quick else SHARDS
    with (
        patch.object(task, "Certifier", TimedCertifier),
        tempfile.TemporaryDirectory(prefix="certify-") as directory,
    ):
        place = Path(directory)
        subject = subjects(options, place)["natural"]

        found = one_beside_two(
            lambda actors, output: run_job(
                subject, output, shards=actors * shards, quick=options.quick, actors=actors
            ),
            place,
            options.repeats,
        )
    report(
        "certify_throughput",
        {"draws_per_row": QUICK_DRAWS if options.quick else DRAWS, **found},
        options=options,
        targets={"ratio_two_actors": 1.85},
    )


if __name__ == "__main__":
    main()
