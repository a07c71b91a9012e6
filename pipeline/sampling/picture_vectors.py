"""Samples drawn on the vectors of pictures: variations, ways between two, differences of texts.

The plan of a set holds a few vectors, `positions` along a way on the sphere; samples get them in
turn. They are made once, by whoever starts the set, so that all workers draw on the same bits.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.class_names import NO_LABEL
from pipeline.errors import UserError
from pipeline.formats.sample_set import condition_hashes
from pipeline.pictures import picture_hashes
from pipeline.sampling.plan import ConditionPlan, PlannedRows
from pipeline.sampling.sphere import slerp, towards

VECTORS = "vectors"
"""Where a sample set's origin says what vectors its samples were drawn on."""

POSITIONS = 9
"""Along a way where nobody says how many: both ends, and what lies an eighth apart."""

TURN = 0.5
"""How far a way along a difference of texts goes where nobody says: the paper's 0.25 to 0.5."""


@dataclass(frozen=True, eq=False)
class VectorsInTurn(ConditionPlan):
    """The same vectors over and over: sample i gets vector ``i mod K``.

    Attributes:
        vectors: float32 ``[K, D]``, at least one.
        made_of: what they were made of, as JSON.
    """

    vectors: np.ndarray
    made_of: dict[str, Any]

    @property
    def num_rows(self) -> int | None:
        """One sample a position of a way; None for a single vector, which serves any number."""
        return len(self.vectors) if len(self.vectors) > 1 else None

    def rows(self, start: int, stop: int) -> PlannedRows:
        vectors = self.vectors[np.arange(start, stop) % len(self.vectors)]
        return PlannedRows(np.full(stop - start, NO_LABEL, np.int64), vectors=vectors)

    def origin(self) -> dict[str, Any]:
        return self.made_of | {"condition_sha256": condition_hashes(self.vectors)}


def variation(picture: np.ndarray, vector: np.ndarray) -> VectorsInTurn:
    """Samples that have the vector of a picture, and differ in what it does not say.

    Args:
        picture: uint8 ``[H, W, C]``, what the set's origin names by its hash.
        vector: the picture's, of unit length, ``[D]``.
    """
    alone = np.asarray(vector, np.float32)[None]
    return VectorsInTurn(alone, {"variation_of": picture_hashes(picture[None])[0]})


def interpolation(
    pictures: np.ndarray, vectors: np.ndarray, positions: int = POSITIONS
) -> VectorsInTurn:
    """The way from one picture to another, both ends included, at equal angles.

    Args:
        pictures: uint8 ``[2, H, W, C]``.
        vectors: the pictures', of unit length, ``[2, D]``.
        positions: at least 2.

    Raises:
        UserError: fewer positions, or the vectors are opposite.
    """
    way = slerp(vectors[0], vectors[1], _shares(positions, 1.0))
    return VectorsInTurn(way, {"between": picture_hashes(pictures), "positions": positions})


def text_steps(
    picture: np.ndarray,
    vector: np.ndarray,
    texts: tuple[str, str],
    text_vectors: np.ndarray,
    turn: float,
    positions: int = POSITIONS,
) -> VectorsInTurn:
    """The way from a picture along a difference of texts: the text diff of DALL-E 2.

    Args:
        picture: uint8 ``[H, W, C]``.
        vector: the picture's, of unit length, ``[D]``.
        texts: what is to be seen, and what is seen now.
        text_vectors: theirs, ``[2, D]``.
        turn: how far the last position lies, in (0, 1], as `towards` has it.
        positions: at least 2, the first of them the picture itself.

    Raises:
        UserError: fewer positions, or as `towards`.
    """
    way = towards(vector, text_vectors[0], text_vectors[1], _shares(positions, turn))
    made_of = {
        "variation_of": picture_hashes(picture[None])[0],
        "towards": texts[0],
        "from": texts[1],
        "turn": turn,
        "positions": positions,
    }
    return VectorsInTurn(way, made_of)


def _shares(positions: int, last: float) -> np.ndarray:
    if positions < 2:
        raise UserError(f"{positions} positions are no way; give 2, its ends, or more")
    return np.linspace(0.0, last, positions)
