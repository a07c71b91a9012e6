"""Calls of one fixed size, so that a row's result does not depend on how the rows were cut.

A convolution may choose another algorithm, and so another last bit, for another batch size. Every
caller that promises the same answer in any shard pads its last call to the same number of rows.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def padded_calls(*rows: Tensor, rows_per_call: int) -> Iterator[tuple[int, list[Tensor]]]:
    """Cuts rows into parts of exactly ``rows_per_call``; the last is padded by repeating its end.

    Args:
        rows: tensors with the same first dimension N >= 1.

    Yields:
        How many rows of the part are real, the first ones, and the part of each tensor.
    """
    num_rows = rows[0].shape[0]
    if num_rows < 1 or any(tensor.shape[0] != num_rows for tensor in rows):
        raise ValueError("rows must hold the same positive number of rows")
    for start in range(0, num_rows, rows_per_call):
        parts = [tensor[start : start + rows_per_call] for tensor in rows]
        num_real = parts[0].shape[0]
        if num_real < rows_per_call:
            missing = rows_per_call - num_real
            parts = [torch.cat((p, p[-1:].expand(missing, *p.shape[1:]))) for p in parts]
        yield num_real, parts


def in_fixed_batches(function: Callable[..., Tensor], *rows: Tensor, rows_per_call: int) -> Tensor:
    """Apply a row-wise function in calls of exactly ``rows_per_call`` rows.

    Args:
        function: takes ``len(rows)`` tensors of ``rows_per_call`` rows, returns as many rows.
        rows: see `padded_calls`; the padding's results are dropped.

    Returns:
        The N results, in order.
    """
    return torch.cat(
        [
            function(*parts)[:num_real]
            for num_real, parts in padded_calls(*rows, rows_per_call=rows_per_call)
        ]
    )
