"""Runs of stacks on Ray: what the jobs do with a `StackRun` once it is planned."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from jobs.common.stack_publisher import publish_stack
from jobs.common.stack_run import StackRun, train_worker
from jobs.common.training import Workers, run_training
from noisestack.resources import Waiting, require
from pipeline.duration import duration
from pipeline.errors import UserError


def train_run(run: StackRun, workers: Workers) -> None:
    """Takes a run to its last step; UserError is what a worker raised as one."""
    run.output.mkdir(parents=True, exist_ok=True)
    run_training(
        train_worker,
        {"run": run},
        output=run.output,
        workers=workers,
        progress=_progress_line,
    )


def publish(
    runs: Sequence[StackRun], output: Path, described: dict[str, Any], workers: Workers
) -> None:
    """`publish_stack` in a task, since a driver may run on a node without the workers' devices."""
    task = ray.remote(publish_stack).options(
        num_cpus=workers.cpus_per_worker, num_gpus=1 if workers.use_gpu else 0
    )
    device = "cuda" if workers.use_gpu else "cpu"
    require(demand := replace(workers.demand, workers=1))
    job = "train-prior" if runs[0].spec.of_vectors else "train-stack"
    try:
        with Waiting(f"{job}: error curves of the trained stack", [demand]):
            ray.get(task.remote(runs, output, described, device))
    except RayTaskError as error:
        if isinstance(error.cause, UserError | OSError):
            raise error.cause from None
        raise


def _progress_line(line: dict[str, Any]) -> str:
    losses = "  ".join(f"{name} {value:.4f}" for name, value in line["loss"].items())
    return (
        f"step {line['step']:>6,}/{line['num_steps']:,}  loss {losses}  "
        f"{line['pictures_per_second']:,.0f} pictures/s  {duration(line['seconds_left'])} left"
    )
