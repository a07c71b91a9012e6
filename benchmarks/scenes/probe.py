"""Does a caption's vector say which colour each shape has? A linear map that is asked."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.scenes.drawing import COLOURS, Combination
from benchmarks.scenes.shapes import SHAPES

_RIDGE = 1e-3  # of a caption's share of the squares


def colours_read(
    known: NDArray[np.floating],
    known_said: Sequence[Combination],
    vectors: NDArray[np.floating],
    said: Sequence[Combination],
) -> NDArray[np.bool_]:
    """Whether both colours of each combination are read off its vector, bool ``[N]``.

    For each shape and colour a linear function of the vector is fitted, by ridge regression, to
    "this shape has this colour". The largest of a shape's eight is the colour that is read.

    Args:
        known, known_said: vectors ``[M, D]`` to fit to, and what each of them says.
        vectors, said: vectors ``[N, D]`` to read, and what each of them says.
    """
    mean, spread = known.mean(axis=0, dtype=np.float64), known.std(axis=0, dtype=np.float64)
    spread[spread == 0] = 1  # some encoders have dimensions that are always 0
    fitted, read = (
        np.column_stack(((rows - mean) / spread, np.ones(len(rows)))) for rows in (known, vectors)
    )
    square = fitted.T @ fitted + _RIDGE * len(fitted) * np.eye(fitted.shape[1])
    answers = read @ np.linalg.solve(square, fitted.T @ _indicators(known_said))
    colours = answers.reshape(len(said), len(SHAPES), len(COLOURS)).argmax(axis=2)
    names = tuple(COLOURS)
    return np.array(
        [
            all(names[row[SHAPES.index(one.shape)]] == one.colour for one in each.objects)
            for row, each in zip(colours, said, strict=True)
        ]
    )


def _indicators(said: Sequence[Combination]) -> NDArray[np.float64]:
    """Which shape has which colour, ``[M, 5 * 8]`` of 0 and 1."""
    names = tuple(COLOURS)
    rows = np.zeros((len(said), len(SHAPES), len(COLOURS)))
    for row, each in zip(rows, said, strict=True):
        for one in each.objects:
            row[SHAPES.index(one.shape), names.index(one.colour)] = 1
    return rows.reshape(len(said), -1)
