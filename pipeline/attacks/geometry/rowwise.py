"""Sums over each row whose bits do not depend on how many rows there are."""

from torch import Tensor


def never_alone(rows: Tensor) -> Tensor:
    """At least two rows ``[N, ...]``: a single one is given a copy beside it.

    On a CPU with several threads torch splits the sum of a single row of 32,768 values or more
    between them, and rounds it otherwise than the same row beside a second one. Cut what comes of
    it to the N rows there were.
    """
    return rows.expand(2, *rows.shape[1:]) if rows.shape[0] == 1 else rows


def row_sum(values: Tensor) -> Tensor:
    """The sum of each row of ``[N, ...]``, ``[N]``."""
    return never_alone(values.flatten(1)).sum(dim=1)[: values.shape[0]]


def row_dot(a: Tensor, b: Tensor) -> Tensor:
    """``<a_n, b_n>`` of each row of ``[N, ...]``, ``[N]``."""
    return row_sum(a * b)
