"""Sums over each row whose bits do not depend on how many rows there are."""

from torch import Tensor


def row_dot(a: Tensor, b: Tensor) -> Tensor:
    """``<a_n, b_n>`` of each row of ``[N, ...]``, ``[N]``.

    On a CPU with several threads torch splits the sum of a single row of 32,768 values or more
    between them, and rounds it otherwise than the same row beside a second one: so there always
    are two.
    """
    product = (a * b).flatten(1)
    num = product.shape[0]
    if num == 1:
        product = product.expand(2, -1)
    return product.sum(dim=1)[:num]
