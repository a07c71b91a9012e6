"""Trains a stack in this process for so many CPU-seconds: as a job trains it, without Ray."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.chain.permutation import Purpose, keyed_permutation
from pipeline.pictures import to_chain
from pipeline.stack import Stack
from pipeline.stack_spec import StackSpec
from pipeline.training.trainer import Recipe, StackTrainer

_LINES = 20  # of progress


@dataclass(frozen=True)
class Trained:
    """A stack with averaged weights, and what it took.

    Attributes:
        losses: of each stage, means over the last twentieth of the run.
    """

    stack: Stack
    steps: int
    cpu_seconds: float
    losses: tuple[float, ...]


def train_for(
    cpu_seconds: float,
    spec: StackSpec,
    recipe: Recipe,
    values: NDArray[Any],
    condition: Callable[[NDArray[np.int64]], Tensor],
    say: Callable[[str], None] = print,
) -> Trained:
    """Trains until this process has spent so much CPU time more.

    Args:
        cpu_seconds: user and system time of all threads of this process.
        spec: of the stack.
        recipe: its steps are not heeded: the rate's cosine ends where the time does.
        values: pictures or vectors, as `to_chain` takes them; each once an epoch.
        condition: of rows, by their numbers.
        say: is told how it goes.
    """
    torch.set_num_threads(1)
    trainer = StackTrainer(Stack.fresh(spec, recipe.seed), recipe)
    order = batches(len(values), recipe.batch_size, recipe.seed)
    start = time.process_time()
    spent, said = 0.0, 0.0
    recent: list[Sequence[float]] = []
    while spent < cpu_seconds or trainer.step == 0:
        share = spent / cpu_seconds
        # The rate is a function of the share of its steps that a run has made: of its time, here.
        due = max(trainer.step + 1, round(trainer.step / share)) if share else recipe.num_steps
        trainer.recipe = replace(recipe, num_steps=due)
        rows = next(order)
        recent.append(trainer.update(to_chain(values[rows]), condition(rows)))
        spent = time.process_time() - start
        if spent - said >= cpu_seconds / _LINES:
            losses = tuple(float(value) for value in np.mean(recent, axis=0))
            words = ", ".join(f"{value:.4f}" for value in losses)
            say(f"{spent:.0f} CPU-s, step {trainer.step}: losses {words}")
            said = spent
            if spent < cpu_seconds:
                recent.clear()
    losses = tuple(float(value) for value in np.mean(recent, axis=0)) if recent else losses
    return Trained(trainer.averaged(), trainer.step, spent, losses)


def batches(num: int, size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Rows of one batch after the other, without end: each once an epoch, in keyed order."""
    rest = np.empty(0, np.int64)
    for epoch in count():
        rest = np.concatenate((rest, keyed_permutation(seed, epoch, Purpose.ORDER, num)))
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]
