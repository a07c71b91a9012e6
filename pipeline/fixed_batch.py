"""Calls of fixed sizes, so that a row's result does not depend on how the rows were cut.

For another batch size a convolution may choose another algorithm, whose result differs in the last
bit. So every caller that promises the same result in any shard pads its last call to the fixed
number of rows, or to a smaller number that was found to give the same bits.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

# The fixed cost of a call in rows: 2 ms of a small convolutional network on a CPU, whose rows take
# 0.65 ms each, forward and backward.
_ROWS_A_CALL = 3


def padded_calls(
    *rows: Tensor, rows_per_call: int, smaller: Sequence[int] = ()
) -> Iterator[tuple[int, list[Tensor]]]:
    """Cuts rows into parts of exactly ``rows_per_call``; the last is padded by repeating its end.

    Args:
        rows: tensors with the same first dimension N >= 1.
        rows_per_call: the size of a part.
        smaller: further sizes for the rows that are left after the whole parts.

    Yields:
        How many rows of a part are real (they come first), and the part of each tensor.
    """
    num_rows = rows[0].shape[0]
    if num_rows < 1 or any(tensor.shape[0] != num_rows for tensor in rows):
        raise ValueError("rows must hold the same positive number of rows")
    start = 0
    for size in call_sizes(num_rows, rows_per_call, smaller):
        parts = [tensor[start : start + size] for tensor in rows]
        num_real = parts[0].shape[0]
        if num_real < size:
            missing = size - num_real
            parts = [torch.cat((p, p[-1:].expand(missing, *p.shape[1:]))) for p in parts]
        yield num_real, parts
        start += size


def call_sizes(num_rows: int, rows_per_call: int, smaller: Sequence[int] = ()) -> list[int]:
    """The sizes of the calls that `padded_calls` makes for so many rows."""
    whole, left = divmod(num_rows, rows_per_call)
    return [rows_per_call] * whole + list(_cheapest(left, (rows_per_call, *smaller))[1])


@lru_cache(maxsize=4096)
def _cheapest(num_rows: int, sizes: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """The calls that hold so many rows at the least cost, and that cost in rows."""
    if num_rows <= 0:
        return 0, ()
    plans = []
    for size in sizes:
        cost, others = _cheapest(num_rows - size, sizes)
        plans.append((_ROWS_A_CALL + size + cost, (size, *others)))
    return min(plans)


def in_fixed_batches(
    function: Callable[..., Tensor],
    *rows: Tensor,
    rows_per_call: int,
    smaller: Sequence[int] = (),
) -> Tensor:
    """Apply a row-wise function in calls of exactly ``rows_per_call`` rows.

    Args:
        function: takes ``len(rows)`` tensors of as many rows as a call has, returns as many rows.
        rows, rows_per_call, smaller: see `padded_calls`; the padding's results are dropped.

    Returns:
        The N results, in order.
    """
    return torch.cat(
        [
            function(*parts)[:num_real]
            for num_real, parts in padded_calls(*rows, rows_per_call=rows_per_call, smaller=smaller)
        ]
    )
