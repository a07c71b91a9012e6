"""Rows a second and core of the training data path alone, against three peers on the same pictures.

Ours is Ray Data's streaming of shuffled Parquet, as it is by default and, beside it, with nothing
kept on disk, as in a first epoch; the peers are torch's `DataLoader` over the same Parquet,
webdataset and mosaicml-streaming. All give shuffled batches of 256 in numpy. Each runs in a process
of its own, which from the first batch on is held, with all that it started, to one core. The CPU
time of the whole process tree counts, Ray's daemons and workers included, from when the stream has
become steady.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from benchmarks.common import (
    Options,
    Stopwatch,
    alternate,
    hold_to_one_core,
    in_own_process,
    median,
    read_options,
    report,
)
from benchmarks.datasets import pictures, write_dataset
from benchmarks.loaders import Loader
from pipeline.formats.dataset import DatasetInfo, load_dataset

TARGETS = {"ratio_best_peer": 1.0}
OURS, UNCACHED = "ours", "ours_without_cache"
PEERS = ("torch_parquet", "webdataset_tar", "mosaicml_mds")
BATCH_SIZE = 256


@dataclass(frozen=True)
class Sizes:
    """How much is read, and for how long.

    Attributes:
        rows: of the data set.
        warm_seconds: until the stream counts as steady.
        seconds: measured after that.
    """

    rows: int
    warm_seconds: float
    seconds: float


FULL = Sizes(60_000, 5.0, 10.0)
QUICK = Sizes(6_000, 1.0, 2.0)


@dataclass(frozen=True)
class Rates:
    """What one loader did once.

    Attributes:
        first_batch_seconds: from nothing to the first batch, imports aside, on all cores.
        wall_rows_per_second: on one core.
    """

    first_batch_seconds: float
    rows_per_cpu_second: float
    wall_rows_per_second: float


def main(argv: Sequence[str] | None = None) -> None:
    """Measures all sides and prints the JSON object."""
    options = read_options(__doc__, argv)
    report("data_path", measure_all(options), options=options, targets=TARGETS)


def measure_all(options: Options) -> dict[str, Any]:
    """The figures: medians of each side, and ours divided by the best peer's."""
    sizes = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        root = Path(directory)
        info = write_dataset(root / "dataset", *pictures(sizes.rows))
        for name in PEERS:
            in_own_process(write, name, info, root / name)
        results = alternate(
            {
                name: partial(in_own_process, measure, name, info.path, root / name, sizes)
                for name in (OURS, UNCACHED, *PEERS)
            },
            options.repeats,
        )
    rates = {name: median([r.rows_per_cpu_second for r in runs]) for name, runs in results.items()}
    best = max(PEERS, key=lambda name: rates[name])
    figures: dict[str, Any] = {"rows": sizes.rows, "batch_rows": BATCH_SIZE, "best_peer": best}
    for name, runs in results.items():
        figures[f"{name}_rows_per_cpu_second"] = rates[name]
        figures[f"{name}_wall_rows_per_second"] = median([r.wall_rows_per_second for r in runs])
        figures[f"{name}_first_batch_seconds"] = median([r.first_batch_seconds for r in runs])
    for name in PEERS:
        figures[f"ratio_{name}"] = rates[OURS] / rates[name]
    figures["ratio_without_cache"] = rates[UNCACHED] / rates[best]
    return {**figures, "ratio_best_peer": rates[OURS] / rates[best]}


def loader(name: str) -> Loader:
    """The loader of that name."""
    return cast(Loader, import_module(f"benchmarks.loaders.{name}"))


def write(name: str, info: DatasetInfo, directory: Path) -> None:
    """Stores the data set in a loader's own format."""
    loader(name).write(info, directory)


def measure(name: str, dataset: Path, directory: Path, sizes: Sizes) -> Rates:
    """One loader's rates, on one core from the first batch on."""
    chosen = loader(name)  # imports come before the clock: all sides import torch
    start = time.perf_counter()
    # Closed at the end: an interpreter that ends with an execution of Ray Data open may crash.
    with closing(chosen.batches(load_dataset(dataset), directory, BATCH_SIZE, seed=0)) as batches:
        next(batches)
        first = time.perf_counter() - start
        hold_to_one_core()
        while time.perf_counter() - start < first + sizes.warm_seconds:
            next(batches)
        watch, rows, begun = Stopwatch(), 0, time.perf_counter()
        while time.perf_counter() - begun < sizes.seconds:
            rows += len(next(batches)[1])
        spent = watch.spent()
    return Rates(first, rows / spent.cpu_seconds, rows / spent.wall_seconds)


if __name__ == "__main__":
    main()
