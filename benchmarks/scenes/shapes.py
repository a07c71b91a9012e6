"""The five shapes: which points they cover, and their moments.

Coordinates are in pixels, x to the right and y down. Each shape's bounding box is a square, whose
side is the shape's diameter.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating]
Cover = Callable[[Points, Points], NDArray[np.bool_]]


def _circle(x: Points, y: Points) -> NDArray[np.bool_]:
    return x * x + y * y <= 0.25


def _square(x: Points, y: Points) -> NDArray[np.bool_]:
    return np.maximum(np.abs(x), np.abs(y)) <= 0.5


def _triangle(x: Points, y: Points) -> NDArray[np.bool_]:
    return (y <= 0.5) & (2 * np.abs(x) <= y + 0.5)


def _cross(x: Points, y: Points) -> NDArray[np.bool_]:
    return _square(x, y) & (np.minimum(np.abs(x), np.abs(y)) <= 1 / 6)


def _ring(x: Points, y: Points) -> NDArray[np.bool_]:
    square = x * x + y * y
    return (square <= 0.25) & (square >= 0.0625)


# A triangle points up. A cross has arms of a third of its diameter, a ring's hole is half of it.
COVERS: dict[str, Cover] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
}
SHAPES = tuple(COVERS)

# Of diameter 1: the area, and how far below the box's middle the centre of mass lies.
AREA = {
    "circle": np.pi / 4,
    "square": 1.0,
    "triangle": 0.5,
    "cross": 5 / 9,
    "ring": np.pi / 4 * 0.75,
}
SINK = {"circle": 0.0, "square": 0.0, "triangle": 1 / 6, "cross": 0.0, "ring": 0.0}

_FINE = 4  # points on a pixel's side


def coverage(shape: str, x: Points, y: Points, diameter: Points, side: int) -> Points:
    """Which part of each pixel of a picture a shape covers.

    Args:
        shape: one of `SHAPES`.
        x, y: the middles of N bounding boxes, ``[N]``; pixel 0 reaches from 0 to 1.
        diameter: their sides, ``[N]``.
        side: of the picture.

    Returns:
        ``[N, side, side]`` in [0, 1], counted at 16 points a pixel.
    """
    points = ((np.arange(side * _FINE) + 0.5) / _FINE).astype(np.float32)
    x, y, diameter = (np.asarray(values, np.float32) for values in (x, y, diameter))
    across = (points - x[:, None]) / diameter[:, None]
    down = (points - y[:, None]) / diameter[:, None]
    inside = COVERS[shape](across[:, None, :], down[:, :, None]).astype(np.float32)
    pool = np.repeat(np.eye(side, dtype=np.float32), _FINE, axis=1) / _FINE
    part: Points = pool @ inside @ pool.T
    return part
