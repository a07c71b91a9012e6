"""The certificate's noise: each draw a pure function of (seed, row, number of the draw).

So a row's votes are the same in any batch, shard or order, with any neighbours, and after a retry.
Two kinds:

- `GaussianNoise`: float32 values near N(0, sigma^2 I), as the field draws them. The theorem speaks
  of real numbers; that the rounding of floats changes nothing is believed, not proved.
- `LatticeNoise`: whole levels of 1/255. For 8-bit pictures the certificate holds as it stands,
  floating point included (Voracek and Hein, "Sound randomized smoothing in floating-point
  arithmetic", ICLR 2023): ``round(k + 255 sigma eps) = k + round(255 sigma eps)`` for whole ``k``,
  so the base asked is ``f∘round``, of which Cohen's theorem holds like of any function, and each
  noisy picture is one of finitely many, each with one answer.

Both turn the raw words of Philox4x64-10, which numpy promises to keep, into values by a table of
the inverse distribution: 16 bits choose a cell. What a cell leaves open (one value in a hundred) is
decided by a word of its own. So a value takes half the time of numpy's ``standard_normal``, whose
values a version may change.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from pipeline.chain.noise import Purpose, philox4x32
from pipeline.errors import UserError
from pipeline.pictures import LEVELS
from pipeline.smoothing.tables import (
    CELLS,
    OUTER,
    gaussian_cells,
    lattice_cells,
    lattice_limits,
)

NoiseName = Literal["gaussian", "lattice"]
NOISES: tuple[NoiseName, ...] = get_args(NoiseName)
LARGEST_SIGMA = 10.0  # ten times a pixel's range: nothing of a picture is left
SMALLEST_SIGMA = 1e-3  # a quarter of a level
# The number of a draw shares a 32-bit word of the counter with its purpose.
MOST_DRAWS = 1 << 24
_WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class DrawKeys:
    """The keys of N noisy pictures.

    Attributes:
        seed: of the whole set, any integer; taken modulo 2**64.
        row_keys: int64 ``[N]``, see `row_keys_of`.
        draws: int64 ``[N]``, the number of the draw of its row, in [0, `MOST_DRAWS`).
    """

    seed: int
    row_keys: np.ndarray
    draws: np.ndarray

    def __len__(self) -> int:
        return len(self.row_keys)

    def padded(self, size: int) -> "DrawKeys":
        """As many keys as ``size``, the last one repeated."""
        missing = (0, size - len(self))
        return DrawKeys(
            self.seed,
            np.pad(self.row_keys, missing, mode="edge"),
            np.pad(self.draws, missing, mode="edge"),
        )


def row_keys_of(ids: Sequence[int | str]) -> np.ndarray:
    """The rows' keys, int64 ``[N]``, of their ids: a whole number is its own, a text its hash."""
    return np.array([i if isinstance(i, int) else _text_key(i) for i in ids], np.int64)


def _text_key(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


class Noise(Protocol):
    """What is added to pictures before the base is asked."""

    @property
    def name(self) -> NoiseName: ...

    @property
    def sigma(self) -> float: ...

    def draw(self, keys: DrawKeys, shape: Sequence[int]) -> Tensor:
        """What is added to a picture in [0, 1]: float32 ``[N, *shape]`` on the CPU."""
        ...

    def noisy(self, x: Tensor, keys: DrawKeys) -> Tensor:
        """Pictures in [0, 1], float32 ``[N, C, H, W]``, with their noise; values leave [0, 1]."""
        ...

    def shortfall(self, num_values: int) -> float:
        """What to take off a lower bound of p_A, for pictures of so many values.

        The total variation between the noise that is drawn and that of the theorem, where it is
        bounded; 0 where nothing is proved.
        """
        ...


class GaussianNoise:
    """N(0, sigma^2 I) in float32: exact but for the rounding, and a table's 1e-5 of a sigma.

    The inverse distribution is linear within each of 65,536 cells, and exact in the outermost, one
    value in 500, where 80 bits say it.
    """

    name: NoiseName = "gaussian"

    def __init__(self, sigma: float) -> None:
        check_sigma(sigma)
        self.sigma = sigma
        self._cells = gaussian_cells(sigma)

    def draw(self, keys: DrawKeys, shape: Sequence[int]) -> Tensor:
        size = math.prod(shape)
        spare = _spare_words(size * 2 * OUTER / CELLS)
        words = _raw_words(keys, -(-size // 2) + spare)
        halves = words.view(np.uint16).reshape(len(keys), -1, 2)[:, :size]
        cells = halves[..., 1]
        lines = np.take(self._cells, cells, mode="wrap").view(np.float32)
        lines = lines.reshape(len(keys), size, 2)
        values = lines[..., 1] * halves[..., 0].astype(np.float32)
        values += lines[..., 0]
        for row, place, word in _undecided(values, words[:, -spare:], keys):
            values[row, place] = self._tail(cells[row, place].astype(np.int64), word)
        return torch.from_numpy(values.reshape(-1, *shape))

    def noisy(self, x: Tensor, keys: DrawKeys) -> Tensor:
        return self.draw(keys, x.shape[1:]).add_(x)

    def shortfall(self, num_values: int) -> float:
        return 0.0

    def _tail(self, cells: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Values of the outermost cells, by 64 more bits."""
        within = (words.astype(np.float64) + 0.5) / 2.0**64
        upper = cells >= CELLS // 2
        # near 1 a float64 has no room for small differences: the upper end by symmetry
        share = (np.where(upper, CELLS - 1 - cells, cells) + within) / CELLS
        tail = self.sigma * ndtri(share)
        return np.asarray(np.where(upper, -tail, tail))


class LatticeNoise:
    """``round(255 sigma eps)`` levels of 1/255, from 64 bits a value.

    Pictures that are not in whole levels are brought there, as the base ``f∘round`` has it.
    """

    name: NoiseName = "lattice"

    def __init__(self, sigma: float) -> None:
        check_sigma(sigma)
        self.sigma = sigma
        self._limits, self._lowest = lattice_limits(sigma)
        self._cells = lattice_cells(self._limits, self._lowest)
        self._open_share = float(np.isnan(self._cells).mean())

    def levels(self, keys: DrawKeys, shape: Sequence[int]) -> Tensor:
        """The noise in whole levels, float32 ``[N, *shape]``."""
        size = math.prod(shape)
        spare = _spare_words(size * self._open_share)
        words = _raw_words(keys, -(-size // 4) + spare)
        cells = words.view(np.uint16)[:, :size]
        values = np.take(self._cells, cells, mode="wrap")
        for row, place, word in _undecided(values, words[:, -spare:], keys):
            share = cells[row, place].astype(np.uint64) << np.uint64(48) | word >> np.uint64(16)
            values[row, place] = self._lowest + np.searchsorted(self._limits, share, "right")
        return torch.from_numpy(values.reshape(-1, *shape))

    def draw(self, keys: DrawKeys, shape: Sequence[int]) -> Tensor:
        return self.levels(keys, shape).div_(LEVELS)

    def noisy(self, x: Tensor, keys: DrawKeys) -> Tensor:
        # Whole levels are added before the one division: the same level is then the same float32,
        # whichever part of it was picture and which was noise.
        return self.levels(keys, x.shape[1:]).add_(x, alpha=LEVELS).round_().div_(LEVELS)

    def shortfall(self, num_values: int) -> float:
        # Each limit is off by less than 2**-52, what float64 makes of a share below a half, and
        # moves that much from one level to its neighbour; values are independent, so it adds up.
        return num_values * len(self._limits) * 2.0**-52


def noise_of(name: NoiseName, sigma: float) -> Noise:
    """The noise of this name.

    Raises:
        UserError: sigma is not one for pixels in [0, 1].
    """
    return LatticeNoise(sigma) if name == "lattice" else GaussianNoise(sigma)


def check_sigma(sigma: float) -> None:
    """UserError for a sigma that is none for pixels in [0, 1]."""
    if not sigma > 0:
        raise UserError(f"sigma must be above 0, not {sigma}; 0.25 and 0.5 are usual")
    if not SMALLEST_SIGMA <= sigma <= LARGEST_SIGMA:
        raise UserError(
            f"sigma is {sigma}, but it is in pixel units of [0, 1]: from {SMALLEST_SIGMA} to "
            f"{LARGEST_SIGMA:g}; a sigma in levels is to be divided by {LEVELS}"
        )


def _raw_words(keys: DrawKeys, num_words: int) -> np.ndarray:
    """Philox4x64-10, counted by draw: uint64 ``[N, num_words]``, up to three more.

    The key is (seed, row), the counter begins at (draw * blocks, 0, 0, purpose): draws that follow
    one another are one stretch of a stream, made in one call.
    """
    draws = keys.draws
    if len(draws) and not 0 <= int(draws.min()) <= int(draws.max()) < MOST_DRAWS:
        raise ValueError(f"draws must lie in [0, {MOST_DRAWS})")
    blocks = -(-num_words // 4)
    words = np.empty((len(keys), 4 * blocks), np.uint64)
    breaks = np.flatnonzero((np.diff(draws) != 1) | (np.diff(keys.row_keys) != 0)) + 1
    for start, stop in pairwise([0, *breaks.tolist(), len(keys)] if len(keys) else []):
        key = np.array([keys.seed % 2**64, int(keys.row_keys[start]) % 2**64], np.uint64)
        counter = np.array([int(draws[start]) * blocks, 0, 0, Purpose.SMOOTHING], np.uint64)
        raw = np.random.Philox(key=key, counter=counter).random_raw((stop - start) * 4 * blocks)
        words[start:stop] = raw.reshape(stop - start, -1)
    return words.astype("<u8", copy=False)


def _spare_words(expected: float) -> int:
    """How many words a draw has for values that their cells leave open; more are hardly needed."""
    return math.ceil(expected + 5 * math.sqrt(expected)) + 2


def _undecided(
    values: np.ndarray, spare: np.ndarray, keys: DrawKeys
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The values that are NaN, row and place, each with a 64-bit word of its own.

    They come at most twice: those that take a spare word of their draw, in the order of their
    places, and those for which none is left, whose words are Philox4x32-10's, keyed by the place.
    """
    flat = np.flatnonzero(np.isnan(values))
    row, place = np.divmod(flat, values.shape[1])
    rank = np.arange(len(flat)) - np.searchsorted(row, row)
    inside = rank < spare.shape[1]
    if inside.any():
        r = row[inside]
        yield r, place[inside], spare[r, rank[inside]]
    if not inside.all():
        r, p = row[~inside], place[~inside]
        yield r, p, _further_words(keys, r, p)


def _further_words(keys: DrawKeys, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A 64-bit word for each place of a row's draw."""
    row_keys = torch.from_numpy(np.ascontiguousarray(keys.row_keys[rows], np.int64))
    draws = torch.from_numpy(np.ascontiguousarray(keys.draws[rows], np.int64))
    counter = (
        torch.from_numpy(places.astype(np.int64)),
        row_keys & _WORD,
        (row_keys >> 32) & _WORD,
        (draws << 8) | int(Purpose.SMOOTHING),
    )
    seed = keys.seed % 2**64
    key = (torch.tensor([seed & _WORD]), torch.tensor([seed >> 32]))
    high, low = (word.numpy().astype(np.uint64) for word in philox4x32(counter, key)[:2])
    return np.asarray((high << np.uint64(32)) | low)
