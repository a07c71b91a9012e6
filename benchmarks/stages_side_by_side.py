"""What it gains to train two equal stages at once, on a core each, rather than one after another.

Both by `train-stack` with a network for each stage and one worker of one thread a stage. The stages
are made equal by measurement: the costlier one trains on a smaller share of each batch.

Looked at is the time in which both train, without the first steps: Ray goes on starting processes
of its own for some 15 s, on the same cores, and the two runs begin some seconds apart. The ratio is
what the steps done in that time take one after another, divided by that time. The ratio of the
whole trainings, start-up included, stands beside it.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import alternate, median, read_options, report
from benchmarks.datasets import pictures, write_dataset
from jobs.train_stack import plan_runs, plan_stack, train_runs
from jobs.train_stack.config import TrainStackConfig
from noisestack.session import ray_session
from pipeline.allocator import keep_freed_memory
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.metrics import METRICS_FILE, read_metrics
from pipeline.pictures import to_signed
from pipeline.stack import Stack
from pipeline.stack_spec import StackSpec
from pipeline.training.trainer import StackTrainer

TARGETS = {"ratio_two_stages": 1.8}
SIDES = (14, 28)
EVERY = 5  # steps between two looks at the clock
FULL, QUICK = (60, 20), (10, 5)  # steps of a stage, and how many of them belong to the start-up
CALIBRATION_STEPS = 8


@dataclass(frozen=True)
class Progress:
    """When a stage had done so many of its steps, in Unix seconds, start-up left out."""

    steps: tuple[int, ...]
    times: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """Of all these steps."""
        return self.times[-1] - self.times[0]

    @property
    def seconds_a_step(self) -> float:
        """On average."""
        return self.seconds / (self.steps[-1] - self.steps[0])

    def steps_at(self, time: float) -> float:
        """How many were done by then, between two looks in proportion."""
        return float(np.interp(time, self.times, self.steps))


@dataclass(frozen=True)
class Measured:
    """One run of the job: its seconds in all, and each stage's progress."""

    whole: float
    stages: tuple[Progress, ...]


def gain(at_once: Sequence[Progress], in_turn: Sequence[Progress]) -> float:
    """How much faster stages are at once, in the time in which all of them train."""
    start = max(stage.times[0] for stage in at_once)
    stop = min(stage.times[-1] for stage in at_once)
    done = [stage.steps_at(stop) - stage.steps_at(start) for stage in at_once]
    alone = [stage.seconds_a_step for stage in in_turn]
    return sum(n * seconds for n, seconds in zip(done, alone, strict=True)) / (stop - start)


def config(dataset: Path, output: Path, steps: int, shares: Sequence[float]) -> TrainStackConfig:
    """The job's config, but for how many stages train at once."""
    return TrainStackConfig(
        dataset=dataset,
        output=output,
        network="stage",
        stages=SIDES,
        widths=(48, 16),
        blocks=(2, 1),
        embedding=64,
        steps=steps,
        batch_size=128,
        stage_share=tuple(shares),
        warmup_steps=10,
        log_every=EVERY,
        checkpoint_every=steps,
        grid_rows=0,
        layers=(2, 2),
        num_workers=(1,),
    )


def equal_shares(spec: StackSpec, asked: TrainStackConfig, x: torch.Tensor) -> tuple[float, ...]:
    """The part of a batch that each stage trains on, so that a step costs each the same."""

    def seconds(stage: int, share: float) -> float:
        recipe = asked.model_copy(update={"stage_share": (share, share)}).recipe()
        trainer = StackTrainer(Stack.fresh(spec, 0, (stage,)), recipe)
        labels = torch.zeros(len(x), dtype=torch.int64)
        times = []
        for _ in range(CALIBRATION_STEPS):
            start = time.perf_counter()
            trainer.update(x, labels)
            times.append(time.perf_counter() - start)
        return median(times[2:])

    shares = [1.0, 1.0]
    for _ in range(3):  # a step's cost is nearly proportional to its rows, but not quite
        costs = [seconds(stage, share) for stage, share in enumerate(shares)]
        dear = max((0, 1), key=lambda stage: costs[stage])
        shares[dear] *= min(costs) / max(costs)
    return tuple(shares)


def run(
    asked: TrainStackConfig, info: DatasetInfo, spec: StackSpec, skipped: int, at_once: int
) -> Measured:
    """One training of both stages, without the publishing of the model."""
    with tempfile.TemporaryDirectory() as directory:
        runs = plan_runs(asked, info, spec, Path(directory))
        start = time.perf_counter()
        train_runs(asked.model_copy(update={"stages_at_once": at_once}), runs)
        whole = time.perf_counter() - start
        return Measured(whole, tuple(stage_progress(run.output, skipped) for run in runs))


def stage_progress(output: Path, skipped: int) -> Progress:
    """From a stage's metrics."""
    lines = [line for line in read_metrics(output / METRICS_FILE) if line["step"] >= skipped]
    return Progress(
        tuple(line["step"] for line in lines), tuple(line["unix_seconds"] for line in lines)
    )


def main() -> None:
    """Measures, and prints the ratio."""
    options = read_options(__doc__)
    keep_freed_memory()  # as workers do: what is calibrated here must cost them the same
    steps, skipped = QUICK if options.quick else FULL
    images, labels = pictures(2_000 if options.quick else 20_000)
    with tempfile.TemporaryDirectory() as directory, ray_session():
        info = write_dataset(Path(directory) / "set", images, labels)
        asked = config(info.path, Path(directory) / "run", steps, (1.0, 1.0))
        spec = plan_stack(asked, info)
        shares = equal_shares(spec, asked, to_signed(images[: asked.batch_size]))
        asked = config(info.path, Path(directory) / "run", steps, shares)
        sides = {
            "at_once": partial(run, asked, info, spec, skipped, 2),
            "in_turn": partial(run, asked, info, spec, skipped, 1),
        }
        results = alternate(sides, options.repeats)
    pairs = list(zip(results["at_once"], results["in_turn"], strict=True))
    figures = {
        "ratio_two_stages": median([gain(once.stages, turn.stages) for once, turn in pairs]),
        "ratio_whole_run": median([turn.whole / once.whole for once, turn in pairs]),
        "share_of_stage_14": shares[0],
        "share_of_stage_28": shares[1],
    }
    for name, measured in results.items():
        figures[f"{name}_whole_seconds"] = median([m.whole for m in measured])
        for number, side in enumerate(SIDES):
            figures[f"{name}_stage_{side}_seconds"] = median(
                [m.stages[number].seconds for m in measured]
            )
    report("stages_side_by_side", figures, options=options, targets=TARGETS)


if __name__ == "__main__":
    main()
