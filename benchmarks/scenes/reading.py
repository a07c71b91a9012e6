"""Reads a picture of a scene back: which objects are there, and whether a caption is right.

A pixel is the ground, or ground and one colour in some proportion. What hangs together is one
object. Its colour is the one whose mixtures with the ground lie nearest to its pixels; its shape
the one that, with the same area and centre of mass, covers its pixels most alike. An object that is
like no colour or no shape is there, but nothing that was asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.scenes.drawing import COLOURS, GROUND, SIDE, Combination
from benchmarks.scenes.shapes import AREA, SHAPES, SINK, coverage

_EDGE = 40.0  # levels from the ground, of at most 169: below it a pixel is ground
_SPECK = 2.5  # pixels: what covers less is noise
_OTHER_COLOUR = 0.12  # share of the colour's square that a wrong direction may have
_OTHER_SHAPE = 0.2  # share of the cover's square that may lie elsewhere
_LARGE = 10.0  # pixels of diameter
_WINDOW = 18

_INKS = np.array(list(COLOURS.values()), np.float64) - GROUND  # [8, 3]
_NAMES = tuple(COLOURS)


@dataclass(frozen=True)
class Found:
    """An object in a picture.

    Attributes:
        shape, colour: None where it is like none of them.
        size: ``small`` or ``large``.
        x, y: its box's middle, in pixels.
        diameter: its box's side, in pixels.
    """

    shape: str | None
    colour: str | None
    size: str
    x: float
    y: float
    diameter: float


@dataclass(frozen=True)
class Scores:
    """What of a caption is in a picture.

    Attributes:
        objects: both shapes are there, and nothing else.
        binding: and each has its colour.
        relation: the objects are right, and lie as the caption says.
        sizes: the objects are right, and each has its size.
        everything: all of these.
    """

    objects: bool
    binding: bool
    relation: bool
    sizes: bool

    @property
    def everything(self) -> bool:
        return self.objects and self.binding and self.relation and self.sizes


def read(pictures: NDArray[np.uint8]) -> list[tuple[Found, ...]]:
    """The objects of each picture, uint8 ``[N, 32, 32, 3]``, from the top left on."""
    found = []
    for picture in pictures:
        offsets = picture.astype(np.float64) - GROUND
        marked = np.linalg.norm(offsets, axis=-1) > _EDGE
        labels, count = ndimage.label(marked, np.ones((3, 3)))
        objects = (_object(offsets, labels == number) for number in range(1, count + 1))
        found.append(tuple(one for one in objects if one is not None))
    return found


def _object(offsets: NDArray[np.float64], inside: NDArray[np.bool_]) -> Found | None:
    """The object whose pixels these are; None for a speck."""
    inside = ndimage.binary_dilation(inside, np.ones((3, 3)))  # with its faint rim
    pixels = offsets[inside]  # [P, 3]
    squares = (_INKS**2).sum(axis=1)
    parts = (pixels @ _INKS.T / squares).clip(0, None)  # [P, 8]
    misfit = (pixels**2).sum() - (parts**2).sum(axis=0) * squares  # of the nearest mixtures
    ink = int(misfit.argmin())
    cover = np.zeros((SIDE, SIDE))
    cover[inside] = parts[:, ink]
    area = float(cover.sum())
    if area < _SPECK:
        return None
    colour = _NAMES[ink] if misfit[ink] <= _OTHER_COLOUR * (pixels**2).sum() else None
    middles = np.arange(SIDE) + 0.5
    x, y = float(cover.sum(axis=0) @ middles / area), float(cover.sum(axis=1) @ middles / area)
    shape, y, diameter = _shape(cover, x, y, area)
    return Found(shape, colour, "large" if diameter >= _LARGE else "small", x, y, diameter)


def _shape(
    cover: NDArray[np.float64], x: float, y: float, area: float
) -> tuple[str | None, float, float]:
    """The shape, its box's middle y and its diameter, from its cover, centre of mass and area."""
    left, top = int(x) - _WINDOW // 2, int(y) - _WINDOW // 2
    around = np.pad(cover, _WINDOW)[
        top + _WINDOW : top + 2 * _WINDOW, left + _WINDOW : left + 2 * _WINDOW
    ]
    elsewhere = (cover**2).sum() - (around**2).sum()
    best = (np.inf, SHAPES[0], y, 0.0)
    for shape in SHAPES:
        diameter = (area / AREA[shape]) ** 0.5
        middle = y - SINK[shape] * diameter
        across, down, width = (np.array([value]) for value in (x - left, middle - top, diameter))
        drawn = coverage(shape, across, down, width, _WINDOW)[0]
        misfit = float(((drawn - around) ** 2).sum())
        best = min(best, (misfit, shape, middle, diameter))
    misfit, name, middle, diameter = best
    known = misfit + elsewhere <= _OTHER_SHAPE * (cover**2).sum()
    return name if known else None, middle, diameter


def score(found: Sequence[Found], said: Combination) -> Scores:
    """What of a caption is in a picture whose objects were read."""
    by_shape = {one.shape: one for one in found}
    wanted = said.objects
    if len(found) != 2 or by_shape.keys() != {one.shape for one in wanted}:
        return Scores(False, False, False, False)
    first, second = (by_shape[one.shape] for one in wanted)
    pairs = ((first, said.first), (second, said.second))
    return Scores(
        objects=True,
        binding=all(one.colour == asked.colour for one, asked in pairs),
        relation=relation(first, second) == said.relation,
        sizes=all(one.size == asked.size for one, asked in pairs),
    )


def relation(first: Found, second: Found) -> str:
    """How the first lies to the second, by the larger of the two distances of their middles."""
    right, down = first.x - second.x, first.y - second.y
    if abs(down) >= abs(right):
        return "below" if down > 0 else "above"
    return "right of" if right > 0 else "left of"
