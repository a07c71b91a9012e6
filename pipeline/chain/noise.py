"""Noise that is keyed, never streamed: each draw here is a pure function of its key.

A draw is addressed by ``(seed, index, layer, purpose)``. A sample therefore does not depend on its
neighbours in the batch, on the number of workers, on retries, or on who asked for it. Sampling,
attacks, bounds, error curves and orders of rows draw here. docs/mathematics.md lists these draws
with their keys, and those that are made elsewhere, such as training's.

The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
1, 2, 3", SC 2011), in torch integer operations over the whole batch at once. The 128-bit counter
holds ``(block, index low, index high, layer << 8 | purpose)`` and the 64-bit key holds the seed.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.chain.permutation import Purpose as Purpose  # part of each draw's key

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_MAX_LAYER = 1 << 24


def philox4x32(counter: Sequence[Tensor], key: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Ten rounds of Philox4x32.

    Args:
        counter: four int64 tensors that broadcast together, each holding a 32-bit word.
        key: two int64 tensors, each holding a 32-bit word.

    Returns:
        Four int64 tensors of 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # A product of two 32-bit words wraps in int64, but its 64 bits are right: shift and mask.
        p0 = c0 * _MULTIPLIERS[0]
        p1 = c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _WORD) ^ c1 ^ k0,
            p1 & _WORD,
            ((p0 >> 32) & _WORD) ^ c3 ^ k1,
            p0 & _WORD,
        )
        k0 = (k0 + _WEYL[0]) & _WORD
        k1 = (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def _as_int64(values: Tensor | np.ndarray | Sequence[int]) -> Tensor:
    return torch.as_tensor(values, dtype=torch.int64, device="cpu").reshape(-1, 1)


def _words(
    seed: Tensor | np.ndarray | Sequence[int],
    index: Tensor | np.ndarray | Sequence[int],
    layer: int | Tensor,
    purpose: Purpose,
    num_words: int,
) -> Tensor:
    """``[N, num_words]`` int64 of uniform 32-bit words, on the CPU."""
    seed_, index_ = _as_int64(seed), _as_int64(index)
    layer_ = _as_int64(layer) if isinstance(layer, Tensor) else torch.tensor([[layer]])
    if int(layer_.min()) < 0 or int(layer_.max()) >= _MAX_LAYER:
        raise ValueError(f"layer must lie in [0, {_MAX_LAYER})")
    block = torch.arange(-(-num_words // 4)).reshape(1, -1)
    counter = (block, index_ & _WORD, (index_ >> 32) & _WORD, (layer_ << 8) | int(purpose))
    words = philox4x32(counter, (seed_ & _WORD, (seed_ >> 32) & _WORD))
    return torch.stack(words, dim=-1).flatten(1)[:, :num_words]


def keyed_uniform(
    seed: Tensor | np.ndarray | Sequence[int],
    index: Tensor | np.ndarray | Sequence[int],
    layer: int | Tensor,
    purpose: Purpose,
    shape: Sequence[int] = (),
) -> Tensor:
    """Uniform draws on the open interval (0, 1), float64 ``[N, *shape]`` on the CPU.

    Args:
        seed: N seeds, any 64-bit integer.
        index: N sample indices, any 64-bit integer.
        layer: the layer or step, one for all rows or N of them, in [0, 2**24).
        purpose: what the draw is for.
        shape: the shape of one row's draw.

    Raises:
        ValueError: ``layer`` is out of range.
    """
    words = _words(seed, index, layer, purpose, math.prod(shape))
    return ((words.double() + 0.5) / 2**32).reshape(-1, *shape)


def keyed_normal(
    seed: Tensor | np.ndarray | Sequence[int],
    index: Tensor | np.ndarray | Sequence[int],
    layer: int | Tensor,
    purpose: Purpose,
    shape: Sequence[int],
) -> Tensor:
    """Standard normal draws, float32 ``[N, *shape]`` on the CPU; arguments as `keyed_uniform`.

    Box-Muller in float64, rounded once: the last bit of a float32 logarithm differs between
    vector units, that of the rounded float64 result practically never does.
    """
    size = math.prod(shape)
    half = -(-size // 2)
    words = _words(seed, index, layer, purpose, 2 * half)
    uniform = (words.double() + 0.5) / 2**32
    radius = torch.sqrt(-2.0 * torch.log(uniform[:, :half]))
    angle = (2.0 * math.pi) * uniform[:, half:]
    normal = torch.cat((radius * torch.cos(angle), radius * torch.sin(angle)), dim=1)
    return normal[:, :size].float().reshape(-1, *shape)
