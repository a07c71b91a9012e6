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
the inverse distribution: 16 bits choose a cell. A cell that the first bits do not decide (one in a
hundred) is decided by 48 or 32 more, of Philox4x32-10. One core draws 8 values in the time of one
of numpy's ``standard_normal``, whose values a version may change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from pipeline.chain.noise import Purpose, philox4x32
from pipeline.errors import UserError
from pipeline.pictures import LEVELS

NoiseName = Literal["gaussian", "lattice"]
NOISES: tuple[NoiseName, ...] = get_args(NoiseName)
LARGEST_SIGMA = 10.0  # ten times a pixel's range: nothing of a picture is left
SMALLEST_SIGMA = 1e-3  # a quarter of a level
# The number of a draw shares a 32-bit word of the counter with its purpose.
MOST_DRAWS = 1 << 24
_CELLS = 1 << 16
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

    The inverse distribution is linear within each of 65,536 cells, and exact in the outermost, 1 in
    500; of 64 bits there.
    """

    name: NoiseName = "gaussian"

    def __init__(self, sigma: float) -> None:
        check_sigma(sigma)
        self.sigma = sigma
        self._starts, self._slopes = _gaussian_cells(sigma)

    def draw(self, keys: DrawKeys, shape: Sequence[int]) -> Tensor:
        size = int(np.prod(shape))
        halves = _raw_words(keys, size, 2).view(np.uint16).reshape(len(keys), -1, 2)
        cells, parts = halves[:, :size, 1], halves[:, :size, 0]
        values = np.take(self._slopes, cells)
        values *= parts
        values += np.take(self._starts, cells)
        rows, places = np.nonzero(np.isnan(values))
        if len(rows):
            words = _further_words(keys, rows, places)
            # 32 bits so far and 32 more; the half keeps it off 0 and 1
            first = (cells[rows, places].astype(np.uint64) << np.uint64(16)) | parts[rows, places]
            share = ((first << np.uint64(32)) | words[0]).astype(np.float64) + 0.5
            upper = first >> np.uint64(31) == 1
            # Near 1 a float64 has no room for what 64 bits say: the upper end by symmetry.
            both = (~((first << np.uint64(32)) | words[0])).astype(np.float64) + 0.5
            tail = ndtri(np.where(upper, both, share) / 2.0**64) * self.sigma
            values[rows, places] = np.where(upper, -tail, tail)
        return torch.from_numpy(values.reshape(-1, *shape))

    def noisy(self, x: Tensor, keys: DrawKeys) -> Tensor:
        return self.draw(keys, x.shape[1:]).add_(x)

    def shortfall(self, num_values: int) -> float:
        return 0.0


class LatticeNoise:
    """``round(255 sigma eps)`` levels of 1/255, from 64 bits a value.

    Pictures that are not in whole levels are brought there first, as the base ``f∘round`` has it.
    """

    name: NoiseName = "lattice"

    def __init__(self, sigma: float) -> None:
        check_sigma(sigma)
        self.sigma = sigma
        self._limits, self._lowest = lattice_limits(sigma)
        self._cells = _lattice_cells(self._limits, self._lowest)

    def levels(self, keys: DrawKeys, shape: Sequence[int]) -> Tensor:
        """The noise in whole levels, float32 ``[N, *shape]``."""
        size = int(np.prod(shape))
        cells = _raw_words(keys, size, 4).view(np.uint16).reshape(len(keys), -1)[:, :size]
        values = np.take(self._cells, cells)
        rows, places = np.nonzero(np.isnan(values))
        if len(rows):
            words = _further_words(keys, rows, places)
            share = cells[rows, places].astype(np.uint64) << np.uint64(48)
            share |= (words[0] << np.uint64(16)) | (words[1] >> np.uint64(16))
            values[rows, places] = self._lowest + np.searchsorted(self._limits, share, "right")
        return torch.from_numpy(values.reshape(-1, *shape))

    def draw(self, keys: DrawKeys, shape: Sequence[int]) -> Tensor:
        return self.levels(keys, shape).div_(LEVELS)

    def noisy(self, x: Tensor, keys: DrawKeys) -> Tensor:
        # Whole levels are added before the one division: the same level is then the same float32,
        # whichever part of it was picture and which was noise.
        return self.levels(keys, x.shape[1:]).add_((x * LEVELS).round_()).div_(LEVELS)

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


def _raw_words(keys: DrawKeys, size: int, values_a_word: int) -> np.ndarray:
    """uint64 ``[N, words]``, at least ``size`` values a row: Philox4x64-10, counted by draw.

    The key is (seed, row), the counter begins at (draw * blocks, 0, 0, purpose): draws that follow
    one another are one stretch of a stream, made in one call.
    """
    draws = keys.draws
    if len(draws) and not 0 <= int(draws.min()) <= int(draws.max()) < MOST_DRAWS:
        raise ValueError(f"draws must lie in [0, {MOST_DRAWS})")
    blocks = -(-size // (4 * values_a_word))
    words = np.empty((len(keys), 4 * blocks), np.uint64)
    breaks = np.flatnonzero((np.diff(draws) != 1) | (np.diff(keys.row_keys) != 0)) + 1
    for start, stop in zip([0, *breaks], [*breaks, len(keys)], strict=True):
        if start == stop:
            continue
        key = np.array([keys.seed % 2**64, int(keys.row_keys[start]) % 2**64], np.uint64)
        counter = np.array([int(draws[start]) * blocks, 0, 0, Purpose.SMOOTHING], np.uint64)
        raw = np.random.Philox(key=key, counter=counter).random_raw((stop - start) * 4 * blocks)
        words[start:stop] = raw.reshape(stop - start, -1)
    return words.astype("<u8", copy=False)


def _further_words(keys: DrawKeys, rows: np.ndarray, places: np.ndarray) -> list[np.ndarray]:
    """Four 32-bit words as uint64 for each undecided value, keyed by its place in the picture."""
    row_keys = torch.from_numpy(np.ascontiguousarray(keys.row_keys, np.int64)[rows])
    draws = torch.from_numpy(np.ascontiguousarray(keys.draws, np.int64)[rows])
    counter = (
        torch.from_numpy(places.astype(np.int64)),
        row_keys & _WORD,
        (row_keys >> 32) & _WORD,
        (draws << 8) | int(Purpose.SMOOTHING),
    )
    seed = keys.seed % 2**64
    key = (torch.tensor([seed & _WORD]), torch.tensor([seed >> 32]))
    return [word.numpy().astype(np.uint64) for word in philox4x32(counter, key)]


@lru_cache(maxsize=8)
def _gaussian_cells(sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Each cell's start and its slope over 16 more bits; NaN in the outermost 64 at each end."""
    edges = np.full(_CELLS + 1, np.nan)
    edges[64:-64] = sigma * ndtri(np.arange(64, _CELLS - 63) / _CELLS)
    slopes = np.diff(edges) / _CELLS
    return (edges[:-1] + slopes / 2).astype(np.float32), slopes.astype(np.float32)


@lru_cache(maxsize=8)
def lattice_limits(sigma: float) -> tuple[np.ndarray, int]:
    """Where the shares of whole levels end, in parts of 2**64, and the lowest level.

    Level ``lowest + i`` has the shares from ``limits[i - 1]`` to ``limits[i]``, whose differences
    are ``Φ((j + ½)/s) − Φ((j − ½)/s)`` with ``s = 255 sigma``; uint64 ``[2 |lowest|]``.
    """
    scale = LEVELS * sigma
    lowest = -int(np.ceil(9.5 * scale + 1))  # what lies beyond is less than 2**-64
    lower = [round(float(ndtr((j + 0.5) / scale)) * 2**64) for j in range(lowest, 0)]
    # Above a half a float64 has fewer bits than a limit: by symmetry.
    limits = [*lower, *(2**64 - limit for limit in reversed(lower))]
    # The last ones may be 2**64 itself, which no share reaches.
    return np.array([min(limit, 2**64 - 1) for limit in limits], np.uint64), lowest


def _lattice_cells(limits: np.ndarray, lowest: int) -> np.ndarray:
    """float32 ``[65536]``: the level that a share's first 16 bits decide, NaN where they do not."""
    first = np.arange(_CELLS, dtype=np.uint64) << np.uint64(48)
    last = first | np.uint64(2**48 - 1)
    low, high = (np.searchsorted(limits, share, "right") for share in (first, last))
    return np.where(low == high, lowest + low, np.nan).astype(np.float32)
