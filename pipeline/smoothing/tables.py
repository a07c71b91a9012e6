"""Tables of the normal distribution's inverse, by the first 16 of a value's bits."""

from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri

from pipeline.pictures import LEVELS

CELLS = 1 << 16
OUTER = 64  # cells at each end, where the normal distribution's inverse is not near a line


@lru_cache(maxsize=8)
def gaussian_cells(sigma: float) -> np.ndarray:
    """Each cell's start, and its slope over 16 more bits: complex64, so that one look takes both.

    NaN in the outermost cells at each end.
    """
    edges = np.full(CELLS + 1, np.nan)
    edges[OUTER:-OUTER] = sigma * ndtri(np.arange(OUTER, CELLS + 1 - OUTER) / CELLS)
    slopes = np.diff(edges) / CELLS
    cells = np.empty(CELLS, np.complex64)
    cells.real, cells.imag = edges[:-1] + slopes / 2, slopes
    return cells


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


def lattice_cells(limits: np.ndarray, lowest: int) -> np.ndarray:
    """float32 ``[65536]``: the level that a share's first 16 bits decide, NaN where they do not."""
    first = np.arange(CELLS, dtype=np.uint64) << np.uint64(48)
    last = first | np.uint64(2**48 - 1)
    low, high = (np.searchsorted(limits, share, "right") for share in (first, last))
    return np.where(low == high, lowest + low, np.nan).astype(np.float32)
