"""The orthonormal two-dimensional Haar transform.

``L`` sums each 2x2 block and halves it; ``H`` gives three detail bands. Together they are an
orthogonal matrix: ``L^T L + H^T H = I`` and ``L L^T = I``. So white noise stays white with the same
standard deviation when a picture shrinks, and every formula of the chain stays exact.
"""

import torch
from torch import Tensor

NUM_BANDS = 3


def _corners(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if x.shape[-1] % 2 or x.shape[-2] % 2:
        raise ValueError(f"the Haar transform needs even sides, got {tuple(x.shape[-2:])}")
    return x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]


def low_pass(x: Tensor) -> Tensor:
    """``L x``: ``[..., H, W]`` to ``[..., H/2, W/2]``; a constant picture's amplitude doubles.

    Raises:
        ValueError: H or W is odd.
    """
    a, b, c, d = _corners(x)
    return (a + b + c + d) / 2


def details(x: Tensor) -> Tensor:
    """``H x``: ``[N, C, H, W]`` to ``[N, 3, C, H/2, W/2]``: horizontal, vertical, diagonal.

    Raises:
        ValueError: H or W is odd.
    """
    a, b, c, d = _corners(x)
    return torch.stack(((a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2), dim=1)


def merge(low: Tensor, detail: Tensor) -> Tensor:
    """``L^T low + H^T detail``: the inverse of (`low_pass`, `details`).

    Args:
        low: ``[N, C, h, w]``.
        detail: ``[N, 3, C, h, w]``.

    Returns:
        ``[N, C, 2h, 2w]``.
    """
    h, v, d = detail.unbind(1)
    out = low.new_empty((*low.shape[:-2], low.shape[-2] * 2, low.shape[-1] * 2))
    out[..., ::2, ::2] = (low + h + v + d) / 2
    out[..., ::2, 1::2] = (low - h + v - d) / 2
    out[..., 1::2, ::2] = (low + h - v - d) / 2
    out[..., 1::2, 1::2] = (low - h - v + d) / 2
    return out


def low_pass_to(x: Tensor, side: int) -> Tensor:
    """``x_r``: low-pass ``[..., H, W]`` until its height is ``side``.

    Raises:
        ValueError: ``side`` is not the height divided by a power of two.
    """
    while x.shape[-2] > side:
        x = low_pass(x)
    if x.shape[-2] != side:
        raise ValueError(f"height {x.shape[-2]} is not reached by halving; asked for {side}")
    return x
