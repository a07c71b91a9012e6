"""What does the job `generate` cost beside the bare sampler, and which pools are the faster?

A stack of the size of configs/fashion_mnist.yaml with random weights, which cost what trained ones
cost; 2 layers a stage, so that what the job adds to a sample weighs more than it does with 8. Every
process has one torch thread.

bare: `sample` in a loop in this process. one, two: the whole job with one and two actors that each
hold the whole stack. stages: the job with an actor for each of the three stages, on the same cores
as two. Speeds of actors are from the end of an actor's first call to the end of its last: the first
one prepares what all use, as one does that comes before the bare loop's clock. With stages, from
the first call of all to the last of all. What comes before (Ray, the processes, imports, weights)
and after (pictures, manifest) is told apart.
"""

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np

from benchmarks.common import alternate, median, read_options, report
from jobs import generate
from jobs.generate.config import GenerateConfig
from pipeline.chain.schedule import Stage
from pipeline.conditions import ConditionSpec
from pipeline.sampling import SamplingOptions, sample
from pipeline.sampling.workers import StackWorker, StageWorker
from pipeline.stack import Stack, save_stack
from pipeline.stack_spec import StackSpec

SPEC = StackSpec(
    shape=(28, 28, 1),
    classes=tuple("0123456789"),
    condition=ConditionSpec("label", 10),
    stages=(Stage(7, 100.0, 2.5), Stage(14, 2.5, 1.1), Stage(28, 1.1, 0.01)),
    sigma_data=(2.42, 1.32, 0.71),
    tau2=(((0.2,), (0.1,), (0.05,)), ((0.06,), (0.04,), (0.02,))),
    network="nested",
    widths=(96, 64, 32),
    blocks=(2, 2, 1),
    embedding=128,
    dropout=0.0,
    rows_per_call=32,
    layers=(2, 2, 2),
    sampler="dpmpp_2m",
    guidance=1.5,
)
SHARD_ROWS = 8 * SPEC.rows_per_call  # 256, the least that the job chooses by itself
SHARDS = 3  # an actor; the first is start-up


@dataclass(frozen=True)
class Call:
    """One call of a worker: when, on the clock of the machine, and for how many samples."""

    actor: int
    stage: int
    start: float
    stop: float
    rows: int


@dataclass(frozen=True)
class JobTimes:
    """One run of the job.

    Attributes:
        startup_seconds: until the first call began.
        finish_seconds: after the last one ended.
    """

    samples_per_second: float
    startup_seconds: float
    finish_seconds: float


def note(output: Path, call: Call) -> None:
    """Adds a call to its actor's file beside the set that the job writes."""
    folder = _folder_of(output)
    folder.mkdir(exist_ok=True)
    with open(folder / f"{call.actor}.jsonl", "a") as stream:
        stream.write(json.dumps(vars(call)) + "\n")


def calls_of(output: Path) -> list[Call]:
    """The calls that were noted for a set."""
    return [
        Call(**json.loads(line))
        for file in _folder_of(output).iterdir()
        for line in file.read_text().splitlines()
    ]


def _folder_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.calls")


class TimedStackWorker(StackWorker):
    """The job's worker, and a line about each call."""

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        start = time.time()
        record = super().__call__(shard)
        note(self.job.output, Call(os.getpid(), 0, start, time.time(), shard["num_rows"]))
        return record


class TimedStageWorker(StageWorker):
    """The job's worker of a stage, and a line about each call."""

    def __call__(
        self, shard: dict[str, Any], carry: dict[str, np.ndarray] | None
    ) -> dict[str, Any]:
        start = time.time()
        result = super().__call__(shard, carry)
        call = Call(os.getpid(), self._stage, start, time.time(), shard["num_rows"])
        note(self.job.output, call)
        return result


def run_bare(stack: Stack, count: int) -> float:
    """Samples a second of `sample` in a loop."""
    options = SamplingOptions().resolve(stack.spec)
    start = time.perf_counter()
    for first in range(0, count, stack.rows_per_call):
        indices = np.arange(first, min(first + stack.rows_per_call, count))
        sample(stack, np.zeros_like(indices), indices, indices % 10, options)
    return count / (time.perf_counter() - start)


def run_job(
    model: Path, output: Path, count: int, pools: Literal["whole", "stages"], actors: int
) -> JobTimes:
    """The job as a person runs it, with a Ray of its own."""
    begun = time.time()
    generate.main(
        GenerateConfig(
            model=model,
            output=output,
            count=count,
            rows_per_shard=SHARD_ROWS,
            pools=pools,
            num_workers=actors,
        )
    )
    ended = time.time()
    calls = calls_of(output)
    first, last = min(call.start for call in calls), max(call.stop for call in calls)
    speed = count / (last - first) if pools == "stages" else whole_speed(calls)
    return JobTimes(speed, first - begun, ended - last)


def whole_speed(calls: Sequence[Call]) -> float:
    """Samples a second, summed over actors.

    An actor's time runs from the end of its first call, if it has several, to the end of its last.
    So an actor that started late or ran out of work does not count against the job, but the time
    between two calls does.
    """
    speed = 0.0
    for actor in {call.actor for call in calls}:
        mine = sorted((call for call in calls if call.actor == actor), key=lambda call: call.start)
        begun = mine[0].start
        if len(mine) > 1:
            begun = mine.pop(0).stop
        speed += sum(call.rows for call in mine) / (mine[-1].stop - begun)
    return speed


def figures(bare: Sequence[float], jobs: Mapping[str, Sequence[JobTimes]]) -> dict[str, float]:
    """Medians, and their ratios: of the sides ``one``, ``two`` and ``stages``."""
    speed = {
        "bare": median(bare),
        **{name: median([run.samples_per_second for run in runs]) for name, runs in jobs.items()},
    }
    found = {f"{name}_samples_per_second": value for name, value in speed.items()}
    for name, runs in jobs.items():
        found[f"{name}_startup_seconds"] = median([run.startup_seconds for run in runs])
        found[f"{name}_finish_seconds"] = median([run.finish_seconds for run in runs])
    return {
        **found,
        "ratio_bare": speed["one"] / speed["bare"],
        "ratio_two_actors": speed["two"] / speed["one"],
        "ratio_whole_over_stages": speed["two"] / speed["stages"],
    }


def main() -> None:
    """Measures all sides in turn and prints the figures as one line of JSON, the last."""
    options = read_options(__doc__)
    shards = 2 if options.quick else SHARDS
    bare: list[float] = []
    jobs: dict[str, list[JobTimes]] = {"one": [], "two": [], "stages": []}
    with (
        patch.object(generate, "StackWorker", TimedStackWorker),
        patch.object(generate, "StageWorker", TimedStageWorker),
        tempfile.TemporaryDirectory(prefix="generate-") as directory,
    ):
        place = Path(directory)
        model = place / "model"
        stack = Stack(SPEC).eval()
        save_stack(stack, {}, model, {})

        def job(name: str, pools: Literal["whole", "stages"], actors: int, shards: int) -> None:
            output = place / f"{name}-{len(jobs[name])}"
            jobs[name].append(run_job(model, output, shards * SHARD_ROWS, pools, actors))

        run_bare(stack, SPEC.rows_per_call)  # what the first call prepares is not measured
        sides = {
            "bare": lambda: bare.append(run_bare(stack, shards * SHARD_ROWS)),
            "one": lambda: job("one", "whole", 1, shards),
            "two": lambda: job("two", "whole", 2, 2 * shards),
            "stages": lambda: job("stages", "stages", len(SPEC.stages), 2 * shards),
        }
        alternate(sides, options.repeats)
    report(
        "generate_throughput",
        {
            "rows_per_shard": SHARD_ROWS,
            "rows_per_call": SPEC.rows_per_call,
            "shards_per_actor": shards,
            **figures(bare, jobs),
        },
        options=options,
        targets={"ratio_bare": 0.95, "ratio_two_actors": 1.9},
    )


if __name__ == "__main__":
    main()
