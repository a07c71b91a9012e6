"""Do the batch jobs stay flat? Driver memory and time a row at 10^5, 10^6 and 10^7 rows.

`generate` writes its sample set and `ingest` its dataset by their own machinery (pools, records,
shards, manifest) on two actors, with a stub in the place of what costs: pictures of 8x8 pixels that
are numbers, not samples. Each size runs in a driver process of its own.

A row's time is taken from the first finished shard to the last, so that starting Ray and the actors
is not in it. It is compared with that at a tenth of the rows: at a hundredth there are 98 shards,
two seconds of work, in which the second actor's late start still shows. At a tenth, too, Ray's own
processes are still starting on the same cores half of the time; so, beside it, the last tenth of
the largest run's rows is compared with its second tenth, which shows growth and nothing else.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray._private.internal_api import node_stats

from benchmarks.common import Options, alternate, median, report, sampling
from jobs.common.pools import Pool
from jobs.common.records import remove_records
from jobs.common.row_ranges import RowRanges
from jobs.common.sharded import run_shards
from jobs.ingest import main as ingest
from jobs.ingest.config import IngestConfig
from noisestack.session import ray_session
from pipeline.formats.claim import claim_output
from pipeline.formats.sample_set import MANIFEST_FILE, sample_table, write_manifest
from pipeline.formats.shard import shards_from_json, write_shard
from pipeline.sources.base import RawRow, Source

ROWS = 10_000_000
QUICK_ROWS = 100_000  # a tenth of it is ten shards; fewer have no steady state at all
ROWS_PER_SHARD = 1024
WORKERS = 2
SIDE = 8
CLASSES = tuple("0123456789")
_STORE_SECONDS = 0.5  # between looks at the object store: each takes some milliseconds
JOBS = ("generate", "ingest")


def pictures(start: int, stop: int) -> np.ndarray:
    """Pictures uint8 [N, 8, 8, 1] whose bytes are cheap, differ from row to row, and are fixed."""
    bits = np.random.default_rng(start).bytes((stop - start) * SIDE * SIDE)
    return np.frombuffer(bits, np.uint8).reshape(-1, SIDE, SIDE, 1)


class StubSampler:
    """In the place of the job's worker: writes its shards, and draws nothing."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        indices = np.arange(shard["start"], shard["stop"])
        images = pictures(shard["start"], shard["stop"])
        table = sample_table(0, indices, indices % len(CLASSES), images)
        return asdict(write_shard(table, self._output, shard["file"]))


class StubSource(Source):
    """Rows that are nowhere: ids are their numbers, pictures are `pictures`."""

    classes = CLASSES
    splits = ()
    has_captions = False

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows

    def keys(self) -> Iterator[tuple[list[str], NDArray[np.int64]]]:
        for start in range(0, self.num_rows, 1 << 14):
            rows = np.arange(start, min(start + (1 << 14), self.num_rows))
            yield list(map(str, rows.tolist())), rows % len(CLASSES)

    def read(self, start: int, stop: int) -> list[RawRow]:
        return [
            RawRow(str(row), image, row % len(CLASSES), None, None, "nowhere")
            for row, image in enumerate(pictures(start, stop), start)
        ]


class StubIngest(IngestConfig):
    """The config of `ingest` with a source that costs nothing."""

    num_rows: int = 0

    def open_source(self) -> Source:
        return StubSource(self.num_rows)


def generate(output: Path, num_rows: int) -> None:
    """What the job does around its sampler."""
    with claim_output(output, {"rows": num_rows}, marker=MANIFEST_FILE) as claimed:
        records = run_shards(
            Pool(StubSampler, {"output": output}, num_workers=WORKERS),
            RowRanges(num_rows, ROWS_PER_SHARD),
            output,
            describe="samples",
        )
        write_manifest(
            claimed.directory,
            shape=(SIDE, SIDE, 1),
            classes=CLASSES,
            shards=shards_from_json(records, output),
            origin={},
        )
        remove_records(output)


def measure(job: str, num_rows: int, output: Path) -> dict[str, float]:
    """Runs a job in this process, and says what it took of the driver, the store and the disk."""
    start = time.perf_counter()
    with ray_session(), watch_store() as store:
        if job == "generate":
            generate(output, num_rows)
        else:
            ingest(
                StubIngest(
                    output=output,
                    num_rows=num_rows,
                    rows_per_shard=ROWS_PER_SHARD,
                    num_workers=WORKERS,
                )
            )
    seconds = time.perf_counter() - start
    folder, manifest = (
        (output, MANIFEST_FILE) if job == "generate" else (output / "train", "dataset.json")
    )
    times = sorted(file.stat().st_mtime_ns for file in folder.glob("part-*.parquet"))

    def row_us(first: int, last: int) -> float:
        """Time a row between two shards, counted in the order in which they were finished."""
        return (times[last] - times[first]) / 1e3 / max(1, (last - first) * ROWS_PER_SHARD)

    end = len(times) - 1
    return {
        "driver_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "row_us": row_us(0, end),
        "second_tenth_row_us": row_us(end // 10, end * 2 // 10),
        "last_tenth_row_us": row_us(end * 9 // 10, end),
        "seconds": seconds,
        "manifest_bytes": (output / manifest).stat().st_size,
        "store_mb": max(store) / 2**20,
    }


@contextmanager
def watch_store() -> Iterator[list[int]]:
    """Yields a list to which the bytes used in this node's object store are added meanwhile."""
    used = [0]
    node = ray.nodes()[0]  # type: ignore[no-untyped-call]

    def look() -> None:
        stats = node_stats(  # type: ignore[no-untyped-call]
            node["NodeManagerAddress"], node["NodeManagerPort"], False
        )
        used.append(stats.store_stats.object_store_bytes_used)

    with sampling(look, _STORE_SECONDS):
        yield used


def measure_apart(job: str, num_rows: int) -> dict[str, float]:
    """`measure` in a process of its own, whose peak of memory is that of this size alone."""
    with tempfile.TemporaryDirectory(prefix="scale-") as directory:
        command = [sys.executable, "-m", "benchmarks.scale", "--measure", job]
        command += ["--rows", str(num_rows), "--output", f"{directory}/set"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def figures(rows: int, repeats: int) -> dict[str, float]:
    """All figures for sizes rows / 100, rows / 10 and rows, smallest first; medians of repeats."""
    found: dict[str, float] = {"rows_per_shard": ROWS_PER_SHARD, "workers": WORKERS}
    sizes = [rows // 100, rows // 10, rows]
    sides = {f"{job} {size}": partial(measure_apart, job, size) for job in JOBS for size in sizes}
    taken = alternate(sides, repeats)

    def middle(job: str, name: str, size: int) -> float:
        return median([one[name] for one in taken[f"{job} {size}"]])

    for job in JOBS:
        for size in sizes:
            for name in taken[f"{job} {size}"][0]:
                found[f"{job}_{name}_{_short(size)}"] = middle(job, name, size)
    for size in sizes:
        found[f"driver_mb_{_short(size)}"] = max(middle(job, "driver_mb", size) for job in JOBS)
    smallest, base, largest = sizes
    found[f"ratio_driver_mb_{_short(rows)}"] = (
        found[f"driver_mb_{_short(smallest)}"] / found[f"driver_mb_{_short(largest)}"]
    )
    found[f"ratio_row_time_{_short(rows)}"] = min(
        middle(job, "row_us", base) / middle(job, "row_us", largest) for job in JOBS
    )
    found["ratio_last_tenth"] = min(
        middle(job, "second_tenth_row_us", largest) / middle(job, "last_tenth_row_us", largest)
        for job in JOBS
    )
    return found


def _short(size: int) -> str:
    """1e7 for 10,000,000; the digits where it is no power of ten."""
    exponent = len(str(size)) - 1
    return f"1e{exponent}" if size == 10**exponent else str(size)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures as one line of JSON, the last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS:,} rows at most")
    parser.add_argument("--rows", type=int, help=f"of the largest size; {ROWS:,} by default")
    parser.add_argument("--repeats", type=int, default=1, help="of each size; 1 by default")
    parser.add_argument("--measure", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    rows = given.rows or (QUICK_ROWS if given.quick else ROWS)
    if given.measure:
        print(json.dumps(measure(given.measure, rows, given.output.absolute())), flush=True)
        return
    if rows < QUICK_ROWS:
        parser.error(f"--rows is at least {QUICK_ROWS}")
    name = _short(rows)
    report(
        "scale",
        figures(rows, given.repeats),
        options=Options(quick=rows < ROWS, repeats=given.repeats),
        targets={
            f"ratio_row_time_{name}": 0.9,
            "ratio_last_tenth": 0.9,
            f"ratio_driver_mb_{name}": 0.9,
        },
    )


if __name__ == "__main__":
    main()
