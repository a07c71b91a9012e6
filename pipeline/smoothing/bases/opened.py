"""Opens a stack for smoothing, and refuses one that does not fit."""

from pathlib import Path

from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, check_fits
from pipeline.smoothing.denoised import StagedDenoiser
from pipeline.stack import Stack


def open_stack(path: Path | None, info: DatasetInfo, device: str) -> Stack:
    """The stack of a directory, which fits a dataset.

    Args:
        path: None where none was named.
        info: the dataset whose pictures it is to denoise.
        device: a torch device.

    Raises:
        UserError: there is none, or its pictures have another shape.
    """
    if path is None:
        raise UserError("this base needs a stack, and none is given; name one with --stack")
    stack = Stack.load(path, device).requires_grad_(False)
    # Its classes are looked at where they matter: a denoiser without a condition has none.
    check_fits(info, shape=stack.shape, classes=info.classes, what=f"the stack {path}")
    return stack


def with_null(stack: Stack) -> Stack:
    """The same; UserError where it can denoise nothing without a condition."""
    if not stack.has_null_condition:
        raise UserError(
            f"the stack {stack.name} never met its null condition in training (drop_condition 0), "
            "so it cannot denoise without a label; train it with --drop-condition 0.1"
        )
    return stack


def staged(stack: Stack) -> StagedDenoiser:
    """A stack as smoothing sees it."""
    return StagedDenoiser(stack, stack.spec.stages, stack.spec.tau2_after)
