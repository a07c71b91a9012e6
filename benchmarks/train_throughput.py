"""Pictures a second through Ray Data and Ray Train, against a bare torch loop over tensors.

The quickstart's model, batch and recipe on 8x8 pictures: of our configs the one that spends the
least on a picture, and so shows best what the pipeline adds. One worker with one thread, against
the same `StackTrainer.update` on slices of a tensor, one thread, nothing else. Each run has a
process of its own. Speeds are those of the steps after the first line of the log; what comes
before, starting Ray and waiting for the first batch, is reported beside them.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import THREADS
from benchmarks.common import (
    Options,
    alternate,
    in_own_process,
    median,
    read_options,
    report,
)
from benchmarks.datasets import synthetic, write_dataset
from jobs.common.stack_config import TrainStackConfig
from jobs.train_stack import main as train_stack
from noisestack.flags import read_config
from pipeline.formats.dataset import images_of, labels_of, load_dataset, read_rows
from pipeline.formats.metrics import METRICS_FILE, read_metrics
from pipeline.pictures import to_signed
from pipeline.sources.base import TRAIN
from pipeline.stack import Stack
from pipeline.training.trainer import StackTrainer

TARGETS = {"ratio_resident": 0.97, "ratio_streaming": 0.93}
CONFIG = Path(__file__).resolve().parents[1] / "configs" / "stack_digits.yaml"
MODES = ("resident", "streaming")
SIDE = 8


@dataclass(frozen=True)
class Sizes:
    """rows: of the data set. steps: of each run. log_every: steps in the part not measured."""

    rows: int
    steps: int
    log_every: int


FULL = Sizes(rows=12_000, steps=280, log_every=40)
QUICK = Sizes(rows=1_024, steps=6, log_every=2)


@dataclass(frozen=True)
class Trained:
    """One run of ours.

    pictures_per_second: from the second line of the log on. first_batch_seconds: what the first
    line's steps took more than as many later ones. other_seconds: all but the steps: Ray's and the
    worker's start, statistics, publishing the model.
    """

    pictures_per_second: float
    first_batch_seconds: float
    other_seconds: float


def main(argv: Sequence[str] | None = None) -> None:
    """Measures all sides and prints the JSON object."""
    options = read_options(__doc__, argv)
    report("train_throughput", measure_all(options), options=options, targets=TARGETS)


def measure_all(options: Options) -> dict[str, Any]:
    """The figures: medians of each side, and ours divided by the bare loop's."""
    sizes = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        root = Path(directory)
        dataset = write_dataset(root / "dataset", *synthetic(sizes.rows, SIDE)).path
        # Not measured: its model says what the bare loop is to train.
        model = train_stack(configured(dataset, root / "first", QUICK, "resident"))
        numbers = iter(range(10**6))

        def ours(mode: str) -> Callable[[], Trained]:
            return lambda: in_own_process(
                train, configured(dataset, root / f"{mode}-{next(numbers)}", sizes, mode)
            )

        bare = configured(dataset, root, sizes, "resident")
        runs = alternate(
            {
                **{mode: ours(mode) for mode in MODES},
                "bare": lambda: in_own_process(train_bare, bare, model),
            },
            options.repeats,
        )
    return figures({mode: runs[mode] for mode in MODES}, runs["bare"])


def figures(ours: dict[str, list[Trained]], bare: Sequence[float]) -> dict[str, Any]:
    """Medians of all sides, and the ratios."""
    found: dict[str, Any] = {"bare_pictures_per_second": median(bare)}
    for mode, runs in ours.items():
        speed = median([run.pictures_per_second for run in runs])
        found[f"{mode}_pictures_per_second"] = speed
        found[f"{mode}_first_batch_seconds"] = median([run.first_batch_seconds for run in runs])
        found[f"{mode}_other_seconds"] = median([run.other_seconds for run in runs])
        found[f"ratio_{mode}"] = speed / median(bare)
    return found


def configured(dataset: Path, output: Path, sizes: Sizes, mode: str) -> TrainStackConfig:
    """The quickstart's config with these sizes, on one worker with one thread."""
    flags = {
        "config": CONFIG,
        "dataset": dataset,
        "output": output,
        "steps": sizes.steps,
        "log-every": sizes.log_every,
        "checkpoint-every": sizes.steps,
        "grid-rows": 0,
        "num-workers": 1,
        "cpus-per-worker": THREADS,
        "data": mode,
    }
    return read_config(TrainStackConfig, [f"--{k}={v}" for k, v in flags.items()], "")


def train(config: TrainStackConfig) -> Trained:
    """A run of `train_stack`, and what its log says of its speed."""
    start = time.perf_counter()
    train_stack(config)
    whole = time.perf_counter() - start
    return read_speed(read_metrics(config.output / METRICS_FILE), config.batch_size, whole)


def read_speed(lines: Sequence[dict[str, Any]], batch_size: int, whole_seconds: float) -> Trained:
    """The speed after the first of the lines, and where the rest of the time went."""
    steps = [
        line["step"] - before
        for line, before in zip(lines, [0, *(line["step"] for line in lines)], strict=False)
    ]
    seconds = [
        count * batch_size / line["pictures_per_second"]
        for count, line in zip(steps, lines, strict=True)
    ]
    a_step = sum(seconds[1:]) / sum(steps[1:])
    return Trained(
        pictures_per_second=batch_size / a_step,
        first_batch_seconds=seconds[0] - steps[0] * a_step,
        other_seconds=whole_seconds - sum(seconds),
    )


def train_bare(config: TrainStackConfig, model: Path) -> float:
    """Pictures a second of the same steps on slices of a tensor, less those that ours leaves out."""
    torch.set_num_threads(THREADS)
    info = load_dataset(config.dataset)
    table = read_rows(info, TRAIN, 0, info.num_rows(TRAIN))
    x, labels = to_signed(images_of(table)), torch.tensor(labels_of(table))
    stack = Stack.fresh(Stack.load(model).spec, config.seed)
    trainer = StackTrainer(stack, config.recipe())
    size = config.batch_size
    begun = 0.0
    for step in range(config.steps):
        if step == config.log_every:
            begun = time.perf_counter()
        first = step * size % (len(x) - size + 1)
        trainer.update(x[first : first + size], labels[first : first + size])
    return (config.steps - config.log_every) * size / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
