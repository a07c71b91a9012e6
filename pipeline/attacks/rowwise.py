"""Sums over each row whose bits do not depend on how many rows there are."""

from torch import Tensor


def never_alone(rows: Tensor) -> Tensor:
    """At least two rows ``[N, ...]``: a single one is given a copy beside it.

    On a CPU with several threads torch splits the sum of a single row of 32,768 values or more
    between them, and rounds it otherwise than the same row beside a second one. Cut what comes of
    it to the N rows there were.
    """
    return rows.expand(2, *rows.shape[1:]) if rows.shape[0] == 1 else rows


def row_dot(a: Tensor, b: Tensor) -> Tensor:
    """``<a_n, b_n>`` of each row of ``[N, ...]``, ``[N]``."""
    product = (a * b).flatten(1)
    return never_alone(product).sum(dim=1)[: product.shape[0]]
