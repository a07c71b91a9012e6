"""Scenes of two objects, the captions that say exactly what is there, and their pictures.

A scene is a pure function of ``(seed, index)``. Its two objects differ in shape and in colour, so
that "the red one" and "the circle" each name one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.scenes.shapes import SHAPES, coverage

SIDE = 32
GROUND = 128  # of 255, in all channels
_ON, _OFF = 225, 30
# The corners of the RGB cube, drawn in: all lie equally far from the ground.
COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (_OFF, _OFF, _OFF),
    "red": (_ON, _OFF, _OFF),
    "green": (_OFF, _ON, _OFF),
    "blue": (_OFF, _OFF, _ON),
    "yellow": (_ON, _ON, _OFF),
    "magenta": (_ON, _OFF, _ON),
    "cyan": (_OFF, _ON, _ON),
    "white": (_ON, _ON, _ON),
}
DIAMETERS = {"small": (7.0, 8.5), "large": (11.5, 13.0)}  # pixels
RELATIONS = ("above", "below", "left of", "right of")
_GAP, _MARGIN = 3.0, 1.0  # least pixels between the boxes, and from a box to the picture's rim
_BOX = 14  # pixels that the largest diameter touches at most
_SLANT = 0.3  # how far the middles are apart across, at most, for their distance along

Part = Literal["train", "held out"]


@dataclass(frozen=True)
class Object:
    """What a caption says of one object."""

    shape: str
    colour: str
    size: str

    def __str__(self) -> str:
        return f"{self.size} {self.colour} {self.shape}"


@dataclass(frozen=True)
class Combination:
    """What a caption says: ``first`` lies above, below, left of or right of ``second``."""

    first: Object
    relation: str
    second: Object

    @property
    def caption(self) -> str:
        return f"a {self.first} {self.relation} a {self.second}"

    @property
    def objects(self) -> tuple[Object, Object]:
        return self.first, self.second

    @property
    def is_held_out(self) -> bool:
        """Whether no training scene shows these two (shape, colour) together."""
        return _pair(self.first, self.second) in HELD_OUT


@dataclass(frozen=True)
class Scene:
    """A combination, and where its objects are: middle x, middle y and diameter in pixels."""

    combination: Combination
    places: tuple[tuple[float, float, float], tuple[float, float, float]]


Pair = tuple[tuple[str, str], tuple[str, str]]


def _pair(first: Object, second: Object) -> Pair:
    one, other = sorted(((first.shape, first.colour), (second.shape, second.colour)))
    return one, other


def _held_out() -> frozenset[Pair]:
    """Every fifth of the 560 pairs of (shape, colour), in an order that is keyed.

    A pair is held out whole: with either of the two first, in all sizes and all relations.
    """
    kinds = sorted(product(SHAPES, COLOURS))
    pairs = [
        (one, other)
        for number, one in enumerate(kinds)
        for other in kinds[number + 1 :]
        if one[0] != other[0] and one[1] != other[1]
    ]
    order = np.argsort(np.random.Philox(key=560).random_raw(len(pairs)), kind="stable")
    return frozenset(pairs[number] for number in order[::5])


HELD_OUT = _held_out()


def _combinations() -> dict[Part, tuple[Combination, ...]]:
    objects = [Object(*said) for said in product(SHAPES, COLOURS, DIAMETERS)]
    found = [
        Combination(first, relation, second)
        for first, relation, second in product(objects, RELATIONS, objects)
        if first.shape != second.shape and first.colour != second.colour
    ]
    return {
        "train": tuple(one for one in found if not one.is_held_out),
        "held out": tuple(one for one in found if one.is_held_out),
    }


COMBINATIONS = _combinations()
"""All 17,920, in a fixed order: 14,336 to train on, and 3,584 that are held out."""


def scene_at(seed: int, index: int, part: Part = "train") -> Scene:
    """Scene number ``index`` under a seed: its combination is one of a part's, at random.

    Args:
        seed, index: from 0 on, below 2**64.
        part: which combinations there are to choose from.
    """
    words = np.random.Philox(key=np.array([seed, index], np.uint64)).random_raw(7)
    first, *draws = (words >> np.uint64(11)).astype(np.float64) / 2**53
    choices = COMBINATIONS[part]
    return placed(choices[int(first * len(choices))], draws)


def distinct(seed: int, count: int, part: Part = "held out") -> tuple[Scene, ...]:
    """Scenes of ``count`` combinations, no two alike: a keyed choice of a part's."""
    choices = COMBINATIONS[part]
    if count > len(choices):
        raise ValueError(f"{count} combinations of {len(choices)}")
    order = np.argsort(np.random.Philox(key=seed).random_raw(len(choices)), kind="stable")
    found = []
    for index, number in enumerate(order[:count]):
        words = np.random.Philox(key=np.array([seed, index], np.uint64)).random_raw(7)
        draws = (words[1:] >> np.uint64(11)).astype(np.float64) / 2**53
        found.append(placed(choices[number], list(draws)))
    return tuple(found)


def placed(combination: Combination, draws: Sequence[float]) -> Scene:
    """A scene of a combination: six uniforms in [0, 1) say the sizes and the places."""
    one, other = (
        low + draw * (high - low)
        for draw, (low, high) in zip(
            draws,
            (DIAMETERS[combination.first.size], DIAMETERS[combination.second.size]),
            strict=False,
        )
    )
    # Along the relation: margins and gap share what is left in a uniform way.
    free = SIDE - 2 * _MARGIN - _GAP - one - other
    start, stop = sorted(draws[2:4])
    near, far = (one, other) if combination.relation in ("above", "left of") else (other, one)
    nearer = _MARGIN + start * free + near / 2
    farther = _MARGIN + stop * free + near + _GAP + far / 2
    # Across it: the first anywhere, the second not far from the line through it.
    low, high = _MARGIN + max(one, other) / 2, SIDE - _MARGIN - max(one, other) / 2
    across = low + draws[4] * (high - low)
    slant = _SLANT * (farther - nearer)
    low, high = max(low, across - slant), min(high, across + slant)
    beside = low + draws[5] * (high - low)
    ends = (nearer, farther)
    if combination.relation in ("below", "right of"):
        ends = (farther, nearer)
    if combination.relation in ("above", "below"):
        return Scene(combination, ((across, ends[0], one), (beside, ends[1], other)))
    return Scene(combination, ((ends[0], across, one), (ends[1], beside, other)))


def draw(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """The pictures, uint8 ``[N, 32, 32, 3]``: smooth edges, on a plain grey ground."""
    pictures = np.full((len(scenes), SIDE, SIDE, 3), float(GROUND))
    for shape in SHAPES:
        drawn = [
            (row, said.colour, place)
            for row, scene in enumerate(scenes)
            for said, place in zip(scene.combination.objects, scene.places, strict=True)
            if said.shape == shape
        ]
        if not drawn:
            continue
        x, y, diameter = np.array([place for _, _, place in drawn]).T
        left, top = ((middle - diameter / 2).astype(int).clip(0, SIDE - _BOX) for middle in (x, y))
        parts = coverage(shape, x - left, y - top, diameter, _BOX)
        for (row, colour, _), part, i, j in zip(drawn, parts, top, left, strict=True):
            ink = np.array(COLOURS[colour]) - GROUND
            pictures[row, i : i + _BOX, j : j + _BOX] += part[..., None] * ink
    return pictures.round().astype(np.uint8)
