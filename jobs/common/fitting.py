"""How a training worker takes its steps, from the newest checkpoint to the last, and notes them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from jobs.common.ranks import TrainRanks
from pipeline.errors import UserError
from pipeline.formats.metrics import METRICS_FILE, MetricsLog
from pipeline.training.checkpoint import CHECKPOINTS, save_checkpoint
from pipeline.training.fit import Fit

Pairs = Iterator[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Schedule:
    """When what is done.

    Attributes:
        steps: optimiser steps in all.
        batch_size: pictures a step, over all workers.
        log_every, checkpoint_every: steps from one to the next.
    """

    steps: int
    batch_size: int
    log_every: int
    checkpoint_every: int


def check_even_batch(batch_size: int, num_workers: int) -> None:
    """Raises UserError for a batch that cannot be split evenly over the workers."""
    share = max(1, num_workers)
    if batch_size % share:
        raise UserError(
            f"batch_size {batch_size} cannot be split evenly over {share} workers; "
            f"give a multiple of {share}"
        )


def take_steps(
    trainer: Fit,
    batches: Callable[[int], Pairs],
    schedule: Schedule,
    *,
    checkpoint: tuple[int, dict[str, Tensor]] | None,
    output: Path,
    ranks: TrainRanks,
) -> None:
    """From a checkpoint to the last step; rank 0 writes.

    Losses are looked at every ``log_every`` steps, by all workers together, so no step waits for
    the device; a checkpoint is only written when all losses before it were finite.

    Args:
        batches: this worker's rows of the batches of each step from the given one on.
        checkpoint: the step and the state to go on from; None to begin.
        output: the run's directory.
    """
    if checkpoint:
        trainer.load_state(checkpoint[1], checkpoint[0])
    log = MetricsLog(output / METRICS_FILE, after_step=trainer.step) if ranks.rank == 0 else None
    since = None
    for images, targets in batches(trainer.step):
        since = since or time.monotonic()
        trainer.update(images, targets)
        keep = trainer.step == schedule.steps or trainer.step % schedule.checkpoint_every == 0
        # The first step too: a person sees within seconds that it moves, and how fast.
        if not (keep or trainer.step == 1 or trainer.step % schedule.log_every == 0):
            continue
        line = _line(schedule, trainer, since)
        since = None
        if log:
            log.append(line)
        if keep:
            trainer.check_weights()
            if ranks.rank == 0:
                save_checkpoint(output / CHECKPOINTS, trainer.step, trainer.state())
    if trainer.step != schedule.steps:
        raise RuntimeError(f"the stream ended at step {trainer.step} of {schedule.steps}")


def _line(schedule: Schedule, trainer: Fit, since: float) -> dict[str, Any]:
    """What the log says of the steps that nobody has looked at; ``since``: when they began."""
    outcomes = trainer.outcomes()
    speed = outcomes.num_steps * schedule.batch_size / (time.monotonic() - since)
    return {
        "step": trainer.step,
        "loss": outcomes.loss,
        "accuracy": outcomes.accuracy,
        "learning_rate": trainer.optimizer.param_groups[0]["lr"],
        "pictures_per_second": speed,
        "seconds_left": (schedule.steps - trainer.step) * schedule.batch_size / speed,
    }
