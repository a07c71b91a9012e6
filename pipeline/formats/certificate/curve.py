"""Certified accuracy by radius: right answers that no change up to that length can take away."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.formats.shard import Shard, iterate, labels_of
from pipeline.intervals import clopper_pearson

# Radii are stored in whole millionths, so that whether one reaches another is exact.
UNIT = 1e6
_STEP = 0.25  # between the radii that a curve names
_MOST = 64
COLUMNS = ("label", "predicted", "radius", "abstained")


@dataclass(frozen=True)
class CurvePoint:
    """One point of the curve.

    Attributes:
        radius: L2, in [0, 1] pixels.
        right: rows with the right answer, certified to at least that radius.
        accuracy: their share of all rows.
        interval_95: of that share, if the rows are a random sample of all pictures.
    """

    radius: float
    right: int
    accuracy: float
    interval_95: tuple[float, float]

    @classmethod
    def of(cls, radius: float, right: int, rows: int) -> "CurvePoint":
        """The point of so many right rows; rows >= 1."""
        return cls(radius, right, right / rows, clopper_pearson(right, rows))

    def as_json(self) -> dict[str, Any]:
        """As a manifest has it."""
        return {**asdict(self), "interval_95": list(self.interval_95)}


def named_radii(certificate: Mapping[str, Any]) -> tuple[float, ...]:
    """The radii that a set's manifest states the certified accuracy at, rising.

    They are those that were asked for. Where none were, the multiples of 0.25 that can be
    certified, 0 first (of 4 sigma at most 64).

    Args:
        certificate: of the manifest, with radii and ceiling.
    """
    asked = sorted({float(radius) for radius in certificate["radii"]})
    if asked:
        return tuple(asked)
    ceiling = float(certificate["ceiling"])
    return tuple(_STEP * k for k in range(min(_MOST, int(ceiling / _STEP) + 1)))


def certified_right(table: pa.Table) -> np.ndarray:
    """The radius of each row that is answered rightly, int64 ``[N]`` in millionths; -1 of others.

    A row that is wrong, or abstained, is right within no radius.
    """
    stored = np.nan_to_num(table.column("radius").to_numpy(), nan=0.0, posinf=0.0, neginf=0.0)
    radius = np.rint(stored * UNIT).astype(np.int64)
    right = labels_of(table, "predicted") == labels_of(table)
    return np.where(right & ~table.column("abstained").to_numpy(), radius, -1)


def in_millionths(radius: float) -> int:
    """A radius as a row's must reach it."""
    return int(np.ceil(radius * UNIT - 1e-6))


def right_radii(directory: Path, shards: Sequence[Shard]) -> np.ndarray:
    """`certified_right` of all rows of a set, in order; one shard is in memory at a time."""
    parts = [certified_right(table) for table in iterate(directory, shards, list(COLUMNS))]
    return np.concatenate([np.empty(0, np.int64), *parts])


def curve_points(millionths: np.ndarray, radii: Sequence[float]) -> list[CurvePoint]:
    """The points of a curve; ``millionths`` of all rows, at least one."""
    return [
        CurvePoint.of(radius, int((millionths >= in_millionths(radius)).sum()), len(millionths))
        for radius in radii
    ]
