"""One level of some samples."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Level:
    """One level ``z_t`` of some samples, on their way from noise to picture.

    Attributes:
        t: 0 is noise, the last level the picture. (Most of the literature counts the other way.)
        sigma: the level's noise, in units in which a picture's values are from -1 to 1.
        z: float32 ``[N, h, w, C]``, the level itself. With the orthonormal low-pass of the chain
            amplitudes double where the sides halve.
        images: uint8 ``[N, h, w, C]``, the level for the eye; of the last one the picture's bytes.
    """

    t: int
    sigma: float
    z: np.ndarray
    images: np.ndarray
