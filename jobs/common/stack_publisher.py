"""The end of a stack's training: the stages' last checkpoints become one model directory."""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.common.stack_run import StackRun, sample_grid
from pipeline.formats.metrics import METRICS_FILE, read_metrics
from pipeline.formats.output import atomic_path
from pipeline.pictures import to_chain
from pipeline.stack import Stack, averaged_stack, save_stack
from pipeline.stack_spec import ErrorCurve
from pipeline.training.checkpoint import last_checkpoint
from pipeline.training.errors import measure_errors
from pipeline.training.state import with_prefix

MODEL_DIRECTORY = "model"
_CURVE_ROWS = 512


def publish_stack(
    runs: Sequence[StackRun], output: Path, described: dict[str, Any], device: str
) -> None:
    """Measures the error curves on rows of the train split and publishes ``output/model``.

    Args:
        runs: the finished runs, which together trained every stage.
        output: the job's directory; `grid.png` is drawn there too.
        described: the config as people gave it, for the model's card.
    """
    first = runs[0]
    info, spec, seed = first.data.info, first.spec, first.recipe.seed
    stack, ema = Stack(spec), dict[str, Tensor]()
    weights: dict[str, Tensor] = {}
    for run in runs:
        tensors = last_checkpoint(run.output, run.recipe.num_steps)
        weights |= with_prefix(tensors, "weights.")
        ema |= with_prefix(tensors, "ema.")
    stack.load_state_dict(weights)
    averaged = averaged_stack(stack, ema).to(device)
    curves = measure_errors(averaged, _some_rows(first, averaged), seed=seed)
    stack.spec = replace(spec, errors=tuple(ErrorCurve(*curve) for curve in curves))
    if first.grid_rows and not first.is_whole:  # else the last checkpoint has drawn it
        with atomic_path(output / "grid.png") as temporary:
            sample_grid(averaged, first).save(temporary, format="png")
    lines = [read_metrics(run.output / METRICS_FILE) for run in runs]
    save_stack(
        stack,
        ema,
        output / MODEL_DIRECTORY,
        {
            "dataset_sha256": info.sha256,
            "num_train_rows": info.num_rows("train"),
            "errors_measured_on": "train",
            "config": described,
            "steps": first.recipe.num_steps,
            "final_loss": {
                name: loss for run in lines if run for name, loss in run[-1]["loss"].items()
            },
            "num_parameters": sum(p.numel() for p in stack.parameters()),
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
        },
    )


def _some_rows(run: StackRun, stack: Stack) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Keyed random rows of the train split, on which the error curves are measured.

    The bound on held-out pictures holds only if nothing was fitted to them. Errors on trained
    pictures are lower, but the bound with such variances is still a bound.
    """
    for batch in run.data.keyed_batches(_CURVE_ROWS, run.recipe.seed):
        condition = run.condition(batch)
        x = to_chain(batch["image"]).to(stack.device)
        yield x, None if condition is None else condition.to(stack.device)
