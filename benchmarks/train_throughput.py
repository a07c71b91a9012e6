"""What Ray Data and Ray Train cost training: pictures a second against a bare loop over tensors.

Both sides take the same optimiser steps of the same stack (28x28 pictures in stages of 14 and 28,
batches of 128, one thread): the bare loop on random rows of a tensor in memory, ours as
`train-stack` does, in a Ray Train worker that reads the dataset resident or streaming. The speed is
that between two optimiser steps, the first ones left out; start-up is reported beside it.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import alternate, median, read_options, report
from benchmarks.datasets import pictures, write_dataset
from jobs.common.stack_run import StackRun, train_worker
from jobs.common.stream import DataMode, TrainingData
from jobs.common.training import Workers, run_training
from noisestack.session import ray_session
from pipeline.chain.schedule import Stage
from pipeline.conditions import ConditionSpec
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.metrics import METRICS_FILE, read_metrics
from pipeline.formats.row_embeddings import RowEmbeddings
from pipeline.pictures import to_signed
from pipeline.stack import Stack
from pipeline.stack_spec import StackSpec
from pipeline.training.trainer import Recipe, StackTrainer
from pipeline.training.weighting import WEIGHTINGS

TARGETS = {"ratio_resident": 0.97, "ratio_streaming": 0.93}
ROWS, BATCH = 60_000, 128
FIRST = 10  # steps that are not measured
EVERY = 5  # steps between two looks at the clock

SPEC = StackSpec(
    shape=(28, 28, 1),
    classes=tuple("0123456789"),
    condition=ConditionSpec("label", 10),
    stages=(Stage(14, 80.0, 1.1), Stage(28, 1.1, 0.01)),
    sigma_data=(1.32, 0.71),
    tau2=(((0.1,), (0.1,), (0.05,)),),
    network="nested",
    widths=(32, 16),
    blocks=(1, 1),
    embedding=64,
    dropout=0.05,
    rows_per_call=32,
    layers=(8, 8),
)


def recipe(steps: int) -> Recipe:
    """The recipe of both sides."""
    return Recipe(
        num_steps=steps,
        batch_size=BATCH,
        stage_share=(1.0, 0.5),
        learning_rate=1e-3,
        warmup_steps=10,
        ema_halflife=20_000,
        drop_condition=0.1,
        gradient_clip=1.0,
        weighting=WEIGHTINGS["edm"],
        seed=0,
    )


def bare(x: torch.Tensor, labels: torch.Tensor, steps: int) -> float:
    """Pictures a second of the optimiser alone, on rows of tensors."""
    trainer = StackTrainer(Stack.fresh(SPEC, 0), recipe(steps))
    generator = torch.Generator().manual_seed(0)
    start = 0.0
    for step in range(steps):
        if step == FIRST:
            start = time.perf_counter()
        rows = torch.randint(len(x), (BATCH,), generator=generator)
        trainer.update(x[rows], labels[rows])
    return (steps - FIRST) * BATCH / (time.perf_counter() - start)


def ours(
    info: DatasetInfo,
    mode: DataMode,
    steps: int,
    spec: StackSpec = SPEC,
    embeddings: RowEmbeddings | None = None,
) -> tuple[float, float]:
    """Pictures a second of a Ray Train worker, and the seconds around its steps."""
    with tempfile.TemporaryDirectory() as directory:
        run = StackRun(
            data=TrainingData.of(
                info,
                "train",
                seed=0,
                batch_size=BATCH,
                mode=mode,
                labelled=embeddings is None,
                embeddings=embeddings,
            ),
            spec=spec,
            stages=(0, 1),
            recipe=recipe(steps),
            output=Path(directory),
            log_every=EVERY,
            checkpoint_every=steps + 1,
            grid_rows=0,
        )
        start = time.perf_counter()
        run_training(
            train_worker,
            {"run": run},
            output=run.output,
            workers=Workers(),
            progress=lambda line: f"{mode}: step {line['step']}",
        )
        whole = time.perf_counter() - start
        lines = [line for line in read_metrics(run.output / METRICS_FILE) if line["step"] > FIRST]
    seconds = sum(EVERY * BATCH / line["pictures_per_second"] for line in lines)
    speed = len(lines) * EVERY * BATCH / seconds
    return speed, whole - steps * BATCH / speed


def main() -> None:
    """Measures, and prints the ratios."""
    options = read_options(__doc__)
    steps = 20 if options.quick else 60
    images, labels = pictures(2_000 if options.quick else ROWS)
    x, y = to_signed(images), torch.from_numpy(labels)
    with tempfile.TemporaryDirectory() as directory, ray_session():
        info = write_dataset(Path(directory), images, labels)
        sides: dict[str, Any] = {
            "bare": lambda: (bare(x, y, steps), 0.0),
            "resident": lambda: ours(info, "resident", steps),
            "streaming": lambda: ours(info, "streaming", steps),
        }
        results = alternate(sides, options.repeats)
    figures: dict[str, float] = {}
    for name, measured in results.items():
        figures[f"{name}_pictures_per_second"] = median([speed for speed, _ in measured])
        if name != "bare":
            figures[f"{name}_startup_seconds"] = median([around for _, around in measured])
            # Round by round: what slowed a whole round down slowed both sides of its ratio.
            figures[f"ratio_{name}"] = median(
                [
                    speed / reference
                    for (speed, _), (reference, _) in zip(measured, results["bare"], strict=True)
                ]
            )
    report("train_throughput", figures, options=options, targets=TARGETS)


if __name__ == "__main__":
    main()
