"""What a person gives as pictures and labels, checked: one line says what is wrong with them.

Two layouts, told apart by their type: uint8 ``[N, H, W, C]`` as files hold them, and floats
``[N, C, H, W]`` in [0, 1] as networks take them. Arrays of numpy and tensors of torch alike.
"""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.pictures import from_unit, to_unit

Pictures = np.ndarray | Tensor
# In levels of 1/255. float32 keeps a level of 1/255 to 3e-5 of a level, bfloat16 to half a level.
_OFF_LEVEL = 1e-3


def unit_pictures(
    x: Pictures, what: str = "x", shape: tuple[int, int, int] | None = None
) -> Tensor:
    """Pictures as networks take them, float32 ``[N, C, H, W]`` in [0, 1]; a copy of uint8 alone.

    Args:
        x: uint8 ``[N, H, W, C]`` or floats ``[N, C, H, W]``.
        what: names them in messages.
        shape: height, width, channels that they must have; None for any.

    Raises:
        UserError: another type, shape or range, or a NaN.
    """
    if isinstance(x, np.ndarray) and x.dtype == np.uint8:
        _check_shape(x.shape, (1, 2, 3), what, shape)
        return to_unit(x)
    if isinstance(x, Tensor) and x.dtype == torch.uint8:
        _check_shape(tuple(x.shape), (1, 2, 3), what, shape)
        return x.movedim(-1, 1).contiguous().float() / 255
    if isinstance(x, np.ndarray) and np.issubdtype(x.dtype, np.floating):
        x = torch.from_numpy(np.ascontiguousarray(x, np.float32))
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = getattr(x, "dtype", type(x).__name__)
        raise UserError(
            f"{what} is {kind}; give pictures as uint8 [N, H, W, C], or as floats [N, C, H, W] in "
            "[0, 1], in an array of numpy or a tensor of torch"
        )
    _check_shape(tuple(x.shape), (2, 3, 1), what, shape)
    _check_range(x, what)
    return x.detach().float()


def stored_pictures(
    x: Pictures, what: str = "x", shape: tuple[int, int, int] | None = None
) -> np.ndarray:
    """Pictures as files hold them, uint8 ``[N, H, W, C]``; floats must be whole levels of 1/255.

    Arguments and errors as `unit_pictures`.

    Raises:
        UserError: as `unit_pictures`, or a float that lies between two levels.
    """
    if isinstance(x, np.ndarray) and x.dtype == np.uint8:
        _check_shape(x.shape, (1, 2, 3), what, shape)
        return x
    unit = unit_pictures(x, what, shape)
    levels = unit.double() * 255
    off = (levels - levels.round()).abs()
    if off.numel() and float(off.max()) > _OFF_LEVEL:
        where = _place(off > _OFF_LEVEL)
        raise UserError(
            f"{what}[{where[1]}] is {float(unit[where[0]]):.6g}, between two levels of 1/255, and "
            f"pictures are of 8 bits here; give ({what} * 255).round() / 255"
        )
    return from_unit(unit)


def checked_labels(y: Any, num_rows: int, num_classes: int, what: str = "y") -> np.ndarray:
    """Labels as int64 ``[N]``.

    Args:
        y: whole numbers: a list, an array or a tensor of N.
        num_rows: N.
        num_classes: K; labels are from 0 to K - 1.

    Raises:
        UserError: another type or number of them, or one outside the classes.
    """
    labels = as_array(y, what)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{what} is {labels.dtype} {list(labels.shape)}; give labels as whole numbers [N]"
        )
    if len(labels) != num_rows:
        raise UserError(f"{what} has {len(labels)} labels for {num_rows} pictures; give one each")
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(
            f"{what}[{row}] is {labels[row]}; the {num_classes} classes are 0 to {num_classes - 1}"
        )
    return labels.astype(np.int64)


def as_array(values: Any, what: str) -> np.ndarray:
    """Numbers as an array of any type and shape; UserError where their rows are of many lengths."""
    try:
        return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    except (TypeError, ValueError):
        raise UserError(f"{what} is no array of numbers; give whole numbers [N]") from None


def whole_number(value: Any, what: str, least: int, most: int = 2**63 - 1) -> int:
    """``value`` as an int from ``least`` to ``most``; UserError where it is none of those."""
    try:
        number = operator.index(value)
    except TypeError:
        raise UserError(f"{what} is {value!r}; give a whole number") from None
    if isinstance(value, bool) or not least <= number <= most:
        raise UserError(f"{what} is {value!r}; give a whole number from {least} to {most}")
    return number


def number(value: Any, what: str) -> float:
    """``value`` as a float; UserError where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(f"{what} is {value!r}; give a number") from None


def row_numbers(rows: Any, num_rows: int) -> np.ndarray:
    """Numbers of rows in a split as int64 ``[N]``; UserError where they are not N from 0."""
    numbers = as_array(rows, "rows")
    if numbers.shape != (num_rows,) or not np.issubdtype(numbers.dtype, np.integer):
        raise UserError(f"rows is {numbers.dtype} {list(numbers.shape)}; give {num_rows} numbers")
    if (numbers < 0).any():
        raise UserError(f"rows holds {numbers.min()}; row numbers are from 0")
    if (numbers > np.iinfo(np.int64).max).any():
        raise UserError(f"rows holds {numbers.max()}; row numbers are of 63 bits")
    return numbers.astype(np.int64)


def _check_shape(
    got: Sequence[int], axes: Sequence[int], what: str, shape: tuple[int, int, int] | None
) -> None:
    """Height, width and channels stand on these axes, and are those of ``shape``."""
    layout = "uint8 [N, H, W, C]" if axes[0] == 1 else "floats [N, C, H, W]"
    if len(got) != 4:
        raise UserError(f"{what} has the shape {list(got)}; give {layout}")
    if got[0] == 0:
        raise UserError(f"{what} holds no picture; give one at least")
    size = tuple(int(got[axis]) for axis in axes)
    if shape is not None and size != tuple(shape):
        height, width, channels = shape
        raise UserError(
            f"{what} has the shape {list(got)}; the pictures here are {height} pixels high and "
            f"{width} wide with {channels} channel{'s' if channels != 1 else ''}, as {layout}"
        )


def _check_range(x: Tensor, what: str) -> None:
    bad = ~((x >= 0) & (x <= 1))  # NaN is outside too
    if bool(bad.any()):
        where = _place(bad)
        raise UserError(
            f"{what}[{where[1]}] is {float(x[where[0]]):.6g}; pictures of floats lie in [0, 1]"
        )


def _place(mask: Tensor) -> tuple[tuple[int, ...], str]:
    """The first place where a mask is true, as an index and in words."""
    index = tuple(int(i) for i in mask.nonzero()[0])
    return index, ", ".join(map(str, index))
