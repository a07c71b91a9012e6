"""What each worker of a stack's training runs: from the newest checkpoint to the last step."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
from torch import Tensor, nn

from jobs.common.batches import EMBEDDED, Batch
from jobs.common.ranks import TrainRanks
from jobs.common.stream import TrainingData
from jobs.common.vector_data import VectorData
from pipeline.class_names import NO_LABEL
from pipeline.errors import UserError
from pipeline.formats.metrics import METRICS_FILE, MetricsLog, read_metrics
from pipeline.formats.output import atomic_path
from pipeline.pictures import display_scale, grid, to_chain
from pipeline.plots.class_sheet import class_sheet
from pipeline.plots.losses import LOSSES_FILE, plot_losses
from pipeline.sampling import sample
from pipeline.stack import Stack
from pipeline.stack_spec import StackSpec
from pipeline.training.checkpoint import (
    CHECKPOINTS,
    newest_step,
    resume_together,
    save_checkpoint,
)
from pipeline.training.trainer import Recipe, StackTrainer

_CLASSES_IN_GRID = 10


@dataclass(frozen=True)
class StackRun:
    """All that a worker needs to know; goes to it by value.

    Attributes:
        data: what is read.
        spec: the stack.
        stages: the indices of the stages that this run trains.
        recipe: how.
        output: the run's directory, on storage that all workers share.
        log_every, checkpoint_every: in steps.
        grid_rows: samples of each class in a checkpoint's grid; 0 draws none, as vectors need it.
        compile: whether torch.compile makes the network's code.
        channels_last: whether pictures are laid out with their channels together.
    """

    data: TrainingData | VectorData
    spec: StackSpec
    stages: tuple[int, ...]
    recipe: Recipe
    output: Path
    log_every: int
    checkpoint_every: int
    grid_rows: int
    compile: bool = False
    channels_last: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it trains all of the stack, which can then draw samples on the way."""
        return len(self.stages) == len(self.spec.stages)

    @property
    def name(self) -> str:
        """What people call it."""
        return f"stage {self.spec.stages[self.stages[-1]].side} px"

    @property
    def loss_names(self) -> list[str]:
        """What its stages' losses are called in figures."""
        if self.spec.of_vectors:
            return ["vectors"]
        return [f"{self.spec.stages[stage].side}px" for stage in self.stages]

    def condition(self, batch: Batch) -> Tensor | None:
        """The conditions of a batch's rows."""
        rule = self.spec.condition.rule
        if rule.embedded and rule.column is not None:
            return rule.read({rule.column: batch[EMBEDDED]})
        return rule.read(batch)

    def steps_done(self) -> int:
        """The step of the newest checkpoint; 0 without one."""
        return newest_step(self.output / CHECKPOINTS)


def train_worker(loop_config: dict[str, Any]) -> None:
    """From the newest checkpoint to the last step; rank 0 writes. Its `StackRun` is under "run"."""
    run: StackRun = loop_config["run"]
    output, recipe = run.output, run.recipe
    ranks = TrainRanks()
    rank, world = ranks.rank, ranks.world
    device = ray.train.torch.get_device()
    stack = Stack.fresh(run.spec, recipe.seed, run.stages).to(device)
    trainer = StackTrainer(
        stack, recipe, parallel=_prepared(stack, run, world), rank=rank, world=world
    )
    checkpoint = resume_together(output / CHECKPOINTS, ranks)
    if checkpoint:
        trainer.load_state(checkpoint[1], checkpoint[0])
    log = MetricsLog(output / METRICS_FILE, after_step=trainer.step) if rank == 0 else None
    meter = _Meter(recipe, trainer.step)
    for x, condition in _batches(run, trainer, device):
        meter.add(trainer.update(x, condition))
        # The first step too: a person sees within seconds that it moves, and how fast.
        first_or_last = trainer.step in (1, recipe.num_steps)
        if log and (first_or_last or trainer.step % run.log_every == 0):
            log.append(meter.line(trainer.step, run.loss_names))
        last = trainer.step == recipe.num_steps
        if rank == 0 and (last or trainer.step % run.checkpoint_every == 0):
            save_checkpoint(output / CHECKPOINTS, trainer.step, trainer.state())
            draw_progress(trainer, run)
    if trainer.step < recipe.num_steps:
        raise RuntimeError(f"the stream ended at step {trainer.step} of {recipe.num_steps}")
    ray.train.report({"step": trainer.step})


def _prepared(stack: Stack, run: StackRun, world: int) -> nn.Module:
    """What the loss calls: the stack, laid out, compiled and wrapped as the run asks."""
    if run.channels_last:
        stack.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if run.compile:
        if stack.device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            raise UserError("--compile needs a C++ compiler on every node, and there is none here")
        stack.compile()
    return ray.train.torch.prepare_model(stack) if world > 1 else stack


def _batches(
    run: StackRun, trainer: StackTrainer, device: torch.device
) -> Iterator[tuple[Tensor, Tensor | None]]:
    layout = torch.channels_last if run.channels_last else torch.contiguous_format
    steps = range(trainer.step, run.recipe.num_steps)
    for batch in run.data.batches(trainer.rows, steps):
        condition = run.condition(batch)
        yield (
            to_chain(batch["image"]).to(device, memory_format=layout),
            None if condition is None else condition.to(device),
        )


class _Meter:
    """Mean losses and speed between two lines of the log."""

    def __init__(self, recipe: Recipe, step: int) -> None:
        self._recipe, self._first = recipe, step
        self._losses: list[tuple[float, ...]] = []
        self._start = self._last = time.monotonic()

    def add(self, losses: tuple[float, ...]) -> None:
        self._losses.append(losses)

    def line(self, step: int, names: Sequence[str]) -> dict[str, Any]:
        now = time.monotonic()
        means = np.mean(self._losses, axis=0)
        speed = len(self._losses) * self._recipe.batch_size / (now - self._last)
        left = (now - self._start) / max(1, step - self._first) * (self._recipe.num_steps - step)
        self._losses, self._last = [], now
        return {
            "step": step,
            "num_steps": self._recipe.num_steps,
            "loss": {name: float(v) for name, v in zip(names, means, strict=True)},
            "pictures_per_second": speed,
            "seconds_left": left,
            "unix_seconds": time.time(),
        }


def draw_progress(trainer: StackTrainer, run: StackRun) -> None:
    """The losses so far and, where the whole stack is there, a grid of samples, a row a class."""
    output = run.output
    draw_losses(output, output / LOSSES_FILE)
    if run.grid_rows and run.is_whole:
        sheet = sample_grid(trainer.averaged(), run)
        for path in (output / "grids" / f"step-{trainer.step:09d}.png", output / "grid.png"):
            with atomic_path(path) as temporary:
                sheet.save(temporary, format="png")


def draw_losses(output: Path, path: Path) -> None:
    """The losses of a run's metrics as a picture; nothing without metrics."""
    lines = read_metrics(output / METRICS_FILE)
    if lines:
        names = list(lines[0]["loss"])
        plot_losses(
            [line["step"] for line in lines],
            {name: [line["loss"][name] for line in lines] for name in names},
            path,
            title="denoiser stack",
        )


def sample_grid(stack: Stack, run: StackRun) -> Any:
    """A Pillow image of samples: a named row of pictures for each of at most ten classes.

    Without classes it is a plain grid, eight pictures a row; where pictures are drawn on
    embeddings, on those of the first rows of the split.
    """
    rows, seed = run.grid_rows, run.recipe.seed
    if run.data.embeddings is not None:
        conditions = run.data.embeddings.read(0)[: rows * 8]
        numbers = np.arange(len(conditions))
        pictures = sample(stack, np.full(len(numbers), seed), numbers, conditions)
        return grid(pictures, 8, scale=display_scale(stack.spec.shape[0]))
    trained = np.setdiff1d(np.arange(len(stack.classes)), stack.spec.untrained)[:_CLASSES_IN_GRID]
    labels = np.tile(trained, rows) if stack.classes else np.full(rows * 8, NO_LABEL)
    numbers = np.arange(len(labels))
    pictures = sample(stack, np.full(len(labels), seed), numbers, labels)
    if not stack.classes:
        return grid(pictures, 8, scale=display_scale(stack.spec.shape[0]))
    names = [stack.classes[label] for label in trained]
    return class_sheet(pictures, np.tile(np.arange(len(names)), rows), names, per_class=rows)
