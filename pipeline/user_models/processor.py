"""Finds out what an image processor does to a picture, by calling it with pictures of noise.

Its settings are not read: each class decides which of them it uses, in which order, and with which
defaults. Only a processor whose every output value is ``scale * level + offset`` of one value of
the picture at the same place can be done in torch exactly and with a gradient. That covers scaling,
an offset, mean and deviation, and another order of channels. Any other processor is refused, even
where the picture keeps its size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pipeline.chain.noise import Purpose, keyed_uniform
from pipeline.errors import UserError
from pipeline.importable import error_line

# Takes Pillow pictures, and switches such as ``do_resize=False``; gives the model's inputs by name.
Processor = Callable[..., Mapping[str, Any]]

_INPUT = "pixel_values"
# The steps that move pixels about, in the order of doing them, and what they heed.
_SETTINGS_OF = {
    "do_align_long_axis": (),
    "do_thumbnail": (),
    "do_resize": ("size", "crop_pct", "size_divisor"),
    "do_center_crop": ("crop_size",),
    "do_pad": ("pad_size", "size_divisor"),
}
_VALUES = 1 << 12  # a channel's, at least: all 256 levels, sixteen times each
_ROUNDING = 16 * 2.0**-24  # of a few operations in float32


@dataclass(frozen=True)
class Scaling:
    """A model's values from levels: ``scale[c] * levels[channels[c]] + offset[c]``, c a channel."""

    channels: tuple[int, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]


class _Unfit(Exception):
    """A processor does more than scaling.

    Attributes:
        due: the height and width of its output, if they differ from the picture's.
        failed: whether it raised.
    """

    def __init__(
        self, why: str, due: tuple[int, int] | None = None, *, failed: bool = False
    ) -> None:
        super().__init__(why)
        self.due, self.failed = due, failed


def noise_pictures(height: int, width: int, channels: int) -> np.ndarray:
    """Keyed noise, always the same, uint8 ``[N, H, W, C]``.

    Every second picture is dark, so that it shows where a processor scales by the picture itself.
    """
    num = 2 * max(1, -(-_VALUES // (2 * height * width)))
    index, zero = np.arange(num), np.zeros(num, np.int64)
    drawn = keyed_uniform(zero, index, 0, Purpose.PROBE, (height, width, channels))
    levels = (drawn.numpy() * 256).clip(0, 255).astype(np.uint8)
    levels[1::2] //= 4
    return levels


def scaling_of(
    processor: Processor, height: int, width: int, channels: int, *, path: object, dataset: object
) -> Scaling:
    """The scaling that a processor does to pictures of this size, with 1 channel or 3.

    Args:
        path, dataset: of the model and the dataset, for messages.

    Raises:
        UserError: it does more than scaling, or it fails.
    """
    try:
        return _scaling_at(processor, height, width, channels)
    except _Unfit as unfit:
        due, why = unfit.due or (height, width), unfit
    name = type(processor).__name__
    try:
        _scaling_at(processor, *due, channels)
    except _Unfit as unfit:
        why = unfit if unfit.due is None else why
    else:
        raise UserError(
            f"{path} is for pictures of {due[0]}x{due[1]}, and those of {dataset} are "
            f"{height}x{width}; ingest with --resize {_resize(due)}"
        )
    steps = [] if why.failed else _steps_on(processor)
    off = _to_switch_off(processor, steps, *due, channels)
    if why.failed:
        raise UserError(
            f"the image processor of {path} ({name}) fails: {why}; correct its configuration"
        )
    if not off:
        raise UserError(
            f"the image processor of {path} ({name}) cannot be done with a gradient: {why}; write "
            "the model with what it does as module:function"
        )
    described = " and ".join(_described(processor, step) for step in steps)
    settings = " and ".join(f'"{step}": false' for step in off)
    raise UserError(
        f"the image processor of {path} ({name}) does more to a picture of {due[0]}x{due[1]} than "
        f"scale it: {described}; prepare the pictures so, ingest them at --resize {_resize(due)}, "
        f"and set {settings} in its configuration"
    )


def _resize(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]},{size[1]}"


def _scaling_at(
    processor: Processor, height: int, width: int, channels: int, **switches: bool
) -> Scaling:
    """The scaling that a processor does at one size; _Unfit if it does anything else."""
    levels = noise_pictures(height, width, channels)
    pictures = [Image.fromarray(row[:, :, 0] if channels == 1 else row) for row in levels]
    try:
        output = processor(pictures, return_tensors="np", **switches)
        if _INPUT not in output:
            raise _Unfit(f"it gives {', '.join(map(str, output))}, and no {_INPUT}")
        values = np.asarray(output[_INPUT])
    except _Unfit:
        raise
    except Exception as error:
        raise _Unfit(
            f"asked about pictures of {height}x{width} it raised {error_line(error)}", failed=True
        ) from None
    if values.ndim != 4 or values.shape[:2] != (len(levels), channels):
        raise _Unfit(
            f"it gives {_INPUT} {list(values.shape)} for {len(levels)} pictures of "
            f"{height}x{width} with {channels} channels"
        )
    if values.shape[2:] != (height, width):
        due = (int(values.shape[2]), int(values.shape[3]))
        raise _Unfit(f"it makes pictures of {due[0]}x{due[1]}", due)
    return _fit_scaling(
        np.moveaxis(levels, -1, 0).reshape(channels, -1).astype(np.float64),
        np.moveaxis(values, 1, 0).reshape(channels, -1).astype(np.float64),
    )


def _fit_scaling(levels: np.ndarray, values: np.ndarray) -> Scaling:
    """The scaling that turns levels into values, up to rounding.

    Args:
        levels, values: float64 ``[C, M]`` each, of the same pictures.

    Returns:
        For each channel of the output its channel of the input, a scale and an offset.

    Raises:
        _Unfit: no such scaling gives every value.
    """
    lines = []
    for number, value in enumerate(values):
        for channel in (number, *(c for c in range(len(levels)) if c != number)):
            level = levels[channel]
            spread = level - level.mean()
            scale = float(spread @ (value - value.mean()) / (spread @ spread))
            offset = float(value.mean() - scale * level.mean())
            most = _ROUNDING * (abs(scale) * 255 + abs(offset))
            if scale and bool((np.abs(scale * level + offset - value) <= most).all()):
                lines.append((channel, scale, offset))
                break
        else:
            raise _Unfit("a value that it gives does not follow from one value of the picture")
    channels, scales, offsets = zip(*lines, strict=True)
    return Scaling(channels, scales, offsets)


def _steps_on(processor: Processor) -> list[str]:
    """The switches of steps that move pixels and are on, in the order of the steps."""
    return [name for name in _SETTINGS_OF if getattr(processor, name, False) is True]


def _to_switch_off(
    processor: Processor, steps: Sequence[str], height: int, width: int, channels: int
) -> list[str]:
    """The fewest steps to switch off so that a processor only scales; empty if that cannot be."""

    def scales_without(names: Sequence[str]) -> bool:
        try:
            _scaling_at(processor, height, width, channels, **dict.fromkeys(names, False))
        except _Unfit:
            return False
        return True

    if not steps or not scales_without(steps):
        return []
    due = list(steps)
    for step in reversed(steps):
        fewer = [name for name in due if name != step]
        if fewer and scales_without(fewer):
            due = fewer
    return due


def _described(processor: Processor, step: str) -> str:
    told_by = ((name, getattr(processor, name, None)) for name in _SETTINGS_OF.get(step, ()))
    settings = ", ".join(f"{name} {_plain(value)}" for name, value in told_by if value is not None)
    return f"{step} ({settings})" if settings else step


def _plain(value: Any) -> str:
    """A setting as its configuration has it; transformers has a class of its own for sizes."""
    return str(dict(value) if hasattr(value, "keys") or hasattr(value, "shortest_edge") else value)
