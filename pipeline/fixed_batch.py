"""Calls of one fixed size, so that a row's result does not depend on how the rows were cut.

A convolution may choose another algorithm, and so another last bit, for another batch size. Every
caller that promises the same answer in any shard pads its last call to the same number of rows.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def in_fixed_batches(function: Callable[..., Tensor], *rows: Tensor, rows_per_call: int) -> Tensor:
    """Apply a row-wise function in calls of exactly ``rows_per_call`` rows.

    Args:
        function: takes ``len(rows)`` tensors of ``rows_per_call`` rows, returns as many rows.
        rows: tensors with the same first dimension N >= 1. The last call is padded by repeating
            the last row; the padding's results are dropped.

    Returns:
        The N results, in order.
    """
    num_rows = rows[0].shape[0]
    if num_rows < 1 or any(tensor.shape[0] != num_rows for tensor in rows):
        raise ValueError("rows must hold the same positive number of rows")
    results = []
    for start in range(0, num_rows, rows_per_call):
        parts = [tensor[start : start + rows_per_call] for tensor in rows]
        num_real = parts[0].shape[0]
        if num_real < rows_per_call:
            missing = rows_per_call - num_real
            parts = [torch.cat((p, p[-1:].expand(missing, *p.shape[1:]))) for p in parts]
        results.append(function(*parts)[:num_real])
    return torch.cat(results)
