"""What each worker of a stack's training runs: from the newest checkpoint to the finished model."""

import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
from torch import Tensor

from pipeline.formats.dataset import DatasetInfo, images_of, iterate_shards, labels_of
from pipeline.formats.metrics import METRICS_FILE, MetricsLog, read_metrics
from pipeline.formats.output import atomic_path
from pipeline.pictures import display_scale, grid, to_signed
from pipeline.plots.losses import LOSSES_FILE, plot_losses
from pipeline.sampling import sample
from pipeline.stack import Stack, save_stack
from pipeline.stack_spec import ErrorCurve, StackSpec
from pipeline.training.checkpoint import newest_checkpoint, save_checkpoint
from pipeline.training.errors import measure_errors
from pipeline.training.trainer import Recipe, StackTrainer

MODEL_DIRECTORY = "model"
CHECKPOINTS = "checkpoints"
_HELD_OUT_ROWS = 512


@dataclass(frozen=True)
class StackRun:
    """All that a worker needs to know; goes to it by value.

    Attributes:
        info: the dataset.
        spec: the stack to train.
        recipe: how.
        output: the run's directory, on storage that all workers share.
        log_every, checkpoint_every: in steps.
        grid_rows: samples of each class in a checkpoint's grid; 0 draws none.
        described: the config as people gave it, for the model's card.
    """

    info: DatasetInfo
    spec: StackSpec
    recipe: Recipe
    output: Path
    log_every: int
    checkpoint_every: int
    grid_rows: int
    described: dict[str, Any]


def train_worker(loop_config: dict[str, Any]) -> None:
    """From the newest checkpoint to the last step; rank 0 writes. Its `StackRun` is under "run"."""
    run: StackRun = loop_config["run"]
    spec, output, recipe = run.spec, run.output, run.recipe
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    torch.manual_seed(recipe.seed)
    stack = Stack(spec).to(device)
    parallel = ray.train.torch.prepare_model(stack) if world > 1 else stack
    trainer = StackTrainer(stack, recipe, parallel=parallel, rank=rank)
    found = newest_checkpoint(output / CHECKPOINTS)
    if found:
        trainer.load_state(found[1], found[0])
    log = MetricsLog(output / METRICS_FILE, after_step=trainer.step) if rank == 0 else None
    meter = _Meter(recipe, trainer.step)
    # A restart finds its rows by its step; the position stored beside them would tell on a mix-up.
    for x, labels in _batches(recipe, world, device, trainer.step):
        meter.add(trainer.update(x, labels))
        if log and (trainer.step % run.log_every == 0 or trainer.step == recipe.num_steps):
            log.append(meter.line(trainer.step, [s.side for s in spec.stages]))
        if rank == 0 and trainer.step % run.checkpoint_every == 0:
            save_checkpoint(output / CHECKPOINTS, trainer.step, trainer.state())
            _draw(trainer, run)
    if trainer.step < recipe.num_steps:
        raise RuntimeError(f"the stream ended at step {trainer.step} of {recipe.num_steps}")
    if rank == 0:
        _finish(trainer, run)
    ray.train.report({"step": trainer.step})


def _batches(
    recipe: Recipe, world: int, device: torch.device, start: int
) -> Iterable[tuple[Tensor, Tensor | None]]:
    size = recipe.batch_size // world
    shard = ray.train.get_dataset_shard("train")
    batches = iter(shard.iter_batches(batch_size=size, prefetch_batches=2, drop_last=True))
    for step in range(start, recipe.num_steps):
        batch = next(batches, None)
        if batch is None:
            return
        if world == 1 and batch["position"][0] != step * recipe.batch_size:
            raise RuntimeError(f"step {step} was given rows from {batch['position'][0]}")
        labels = batch.get("label")
        yield (
            to_signed(batch["image"]).to(device),
            None if labels is None else torch.tensor(labels, device=device),
        )


class _Meter:
    """Mean losses and speed between two lines of the log."""

    def __init__(self, recipe: Recipe, step: int) -> None:
        self._recipe, self._first = recipe, step
        self._losses: list[tuple[float, ...]] = []
        self._start = self._last = time.monotonic()

    def add(self, losses: tuple[float, ...]) -> None:
        self._losses.append(losses)

    def line(self, step: int, sides: Sequence[int]) -> dict[str, Any]:
        now = time.monotonic()
        means = np.mean(self._losses, axis=0)
        speed = len(self._losses) * self._recipe.batch_size / (now - self._last)
        left = (now - self._start) / max(1, step - self._first) * (self._recipe.num_steps - step)
        self._losses, self._last = [], now
        return {
            "step": step,
            "num_steps": self._recipe.num_steps,
            "loss": {f"{side}px": float(v) for side, v in zip(sides, means, strict=True)},
            "pictures_per_second": speed,
            "seconds_left": left,
        }


def _draw(trainer: StackTrainer, run: StackRun) -> None:
    """The checkpoint's sample grid, a row a class, and the losses so far."""
    output, seed = run.output, run.recipe.seed
    lines = read_metrics(output / METRICS_FILE)
    if lines:
        names = list(lines[0]["loss"])
        plot_losses(
            [line["step"] for line in lines],
            {name: [line["loss"][name] for line in lines] for name in names},
            output / LOSSES_FILE,
            title="denoiser stack",
        )
    if run.grid_rows:
        spec = trainer.stack.spec
        classes = min(10, max(1, len(spec.classes)))
        labels = np.tile(np.arange(classes), run.grid_rows)
        if not spec.classes:
            labels = np.full(run.grid_rows * 8, -1)
        rows = np.arange(len(labels))
        pictures = sample(trainer.averaged(), np.full(len(labels), seed), rows, labels)
        sheet = grid(pictures, classes if spec.classes else 8, scale=display_scale(spec.shape[0]))
        for path in (output / "grids" / f"step-{trainer.step:09d}.png", output / "grid.png"):
            with atomic_path(path) as temporary:
                sheet.save(temporary, format="png")


def _finish(trainer: StackTrainer, run: StackRun) -> None:
    """Measures the error curves on held-out rows and publishes the model."""
    averaged, info, output = trainer.averaged(), run.info, run.output
    split = "test" if info.splits.get("test") else "train"
    curves = measure_errors(averaged, _held_out(info, split, averaged), seed=run.recipe.seed)
    trainer.stack.spec = replace(
        trainer.stack.spec, errors=tuple(ErrorCurve(levels, errors) for levels, errors in curves)
    )
    _draw(trainer, run)
    save_checkpoint(output / CHECKPOINTS, trainer.step, trainer.state())
    lines = read_metrics(output / METRICS_FILE)
    save_stack(
        trainer.stack,
        trainer.ema,
        output / MODEL_DIRECTORY,
        {
            "dataset_sha256": info.sha256,
            "num_train_rows": info.num_rows("train"),
            "errors_measured_on": split,
            "config": run.described,
            "steps": trainer.step,
            "final_loss": lines[-1]["loss"] if lines else {},
            "num_parameters": sum(p.numel() for p in trainer.stack.parameters()),
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
        },
    )


def _held_out(
    info: DatasetInfo, split: str, stack: Stack
) -> Iterable[tuple[Tensor, Tensor | None]]:
    rows = 0
    for table in iterate_shards(info, split, ["image", "label"] if info.classes else ["image"]):
        part = table.slice(0, _HELD_OUT_ROWS - rows)
        rows += part.num_rows
        for start in range(0, part.num_rows, 128):
            batch = part.slice(start, 128)
            x = to_signed(images_of(batch)).to(stack.device)
            labels = torch.tensor(labels_of(batch), device=stack.device)
            yield x, labels if stack.spec.classes else None
        if rows >= _HELD_OUT_ROWS:
            return
