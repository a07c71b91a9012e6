"""Trivial adversarial pictures: of one colour, or as far away as the black picture.

Some libraries return such a picture for a row that they cannot break. A classifier of ten classes
gets it wrong nine times out of ten, however robust it is.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.formats.perturbation.distances import size_levels
from pipeline.formats.shard import images_of
from pipeline.importable import is_importable
from pipeline.perturbation_terms import TRANSFER
from pipeline.pictures import LEVELS

_COLOURS = (0, 128, LEVELS)  # black, mid grey, white: what a search may begin at
# A faint picture is near the black one: there a change as long as the picture may well be found.
_FAINT = 0.05  # of the white picture's size
# Rounding to whole levels turns a short change a little; any two others are at right angles or so.
_PARALLEL = 0.9


def may_give_up(attack: str) -> bool:
    """Whether an attack may return a trivial picture where it fails: a user's, or another set's.

    Noisestack's own attacks keep the clean picture.
    """
    return is_importable(attack) or attack == TRANSFER


def count_trivial(table: pa.Table, attack: Mapping[str, Any]) -> int:
    """How many broken rows hold a trivial picture; 0 for Noisestack's own attacks.

    Args:
        table: rows with the columns success, image and adversarial.
        attack: the manifest's.
    """
    if not may_give_up(str(attack["attack"])):
        return 0
    won = table.column("success").to_numpy()
    if not won.any():
        return 0
    clean, stored = images_of(table)[won], images_of(table, "adversarial")[won]
    return int(are_trivial(clean, stored, str(attack["norm"]), int(attack["eps"])).sum())


def are_trivial(clean: np.ndarray, stored: np.ndarray, norm: str, eps: int) -> np.ndarray:
    """Which changed pictures are trivial, bool ``[N]``.

    Trivial are: a picture of one colour whose clean picture is not; without a ball, a change as
    large as the clean picture itself, so that the black picture is no farther; in a ball, its point
    nearest to black, grey or white.

    Args:
        clean, stored: uint8 ``[N, H, W, C]``.
        norm: linf, l2 or l1.
        eps: the ball's radius in levels; 0 for none.
    """
    trivial = _of_one_colour(stored) & ~_of_one_colour(clean)
    if eps == 0:
        own = size_levels(np.zeros_like(clean), clean, norm)
        faint = own < _FAINT * size_levels(np.zeros_like(clean), np.full_like(clean, LEVELS), norm)
        return np.asarray(trivial | (~faint & (size_levels(clean, stored, norm) >= own)))
    for colour in _COLOURS:
        trivial |= _went_straight_to(colour, clean, stored, norm, eps)
    return np.asarray(trivial)


def _of_one_colour(images: np.ndarray) -> np.ndarray:
    if images.shape[1] * images.shape[2] == 1:
        return np.zeros(len(images), dtype=bool)
    return np.asarray((images == images[:, :1, :1]).all(axis=(1, 2, 3)))


def _went_straight_to(
    colour: int, clean: np.ndarray, stored: np.ndarray, norm: str, eps: int
) -> np.ndarray:
    """Whether stored pictures are where the ball is nearest to the picture of this level."""
    num = len(clean)
    base = clean.astype(np.int64).reshape(num, -1)
    change = stored.astype(np.int64).reshape(num, -1) - base
    away = colour - base
    if norm == "linf":
        same = change == away.clip(-eps, eps)
        return np.asarray(same.all(axis=1) & change.any(axis=1))
    if norm == "l1":
        away = _cut_to_l1(away, eps)
    elif norm != "l2":
        raise ValueError(f"there is no norm {norm}")
    lengths = np.linalg.norm(change, axis=1) * np.linalg.norm(away, axis=1)
    along = (change * away).sum(axis=1)
    return np.asarray((lengths > 0) & (along >= _PARALLEL * lengths))


def _cut_to_l1(away: np.ndarray, eps: int) -> np.ndarray:
    """The nearest point to each row ``[N, D]`` in the L1 ball: all sizes less the same amount."""
    size = np.sort(np.abs(away), axis=1)[:, ::-1]
    excess = (size.cumsum(axis=1) - eps) / np.arange(1, size.shape[1] + 1)
    cut = np.maximum(excess.max(axis=1, keepdims=True), 0)
    return np.asarray(np.sign(away) * np.maximum(np.abs(away) - cut, 0))
