"""Divides rows without splits into train and test: by class, exactly, keyed by their ids."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.formats.splits import TEST, TRAIN

_ABOVE_ALL = 1 << 64


@dataclass(frozen=True)
class Division:
    """Which rows are for testing: those of a class whose hash lies below the class's threshold.

    A row's hash is that of the seed and its id. So when rows are added or removed, a row changes
    its split only if its hash is close to its class's threshold.

    Attributes:
        thresholds: for each class, 0 to 2^64; one for all rows where there are no classes.
    """

    seed: int
    thresholds: tuple[int, ...]

    def split_of(self, row_id: str, label: int) -> str:
        """The split of a row.

        Args:
            label: -1 without classes.
        """
        return TEST if key_of(row_id, self.seed) < self.thresholds[max(label, 0)] else TRAIN


def key_of(row_id: str, seed: int) -> int:
    """The first 64 bits of the SHA-256 of the text ``seed:id``."""
    digest = hashlib.sha256(f"{seed}:{row_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def divide(
    rows: Iterable[tuple[Sequence[str], NDArray[np.int64]]],
    num_classes: int,
    *,
    seed: int,
    test_fraction: float,
) -> Division:
    """Divides N rows into train and test, with round(fraction · N) rows for testing.

    `counts_for_testing` says how many of each class; within a class, the rows with the lowest keys
    are for testing. It takes 18 bytes a row: the keys, the labels, and the keys class by class.

    Args:
        rows: ids and labels of all rows, batch by batch; a label below 0 is none, and with classes
            such a row is in no split.
        num_classes: 0 for rows without labels.

    Raises:
        UserError: no row would be for testing, or none for training.
    """
    num_strata = max(num_classes, 1)
    if not test_fraction:
        return Division(seed, (0,) * num_strata)
    batches: list[tuple[NDArray[np.int16], NDArray[np.uint64]]] = []
    counts = np.zeros(num_strata, np.int64)
    for ids, labels in rows:
        keys = np.fromiter((key_of(row_id, seed) for row_id in ids), np.uint64, len(ids))
        strata = labels if num_classes else np.zeros(len(ids), np.int64)
        in_class = strata >= 0
        counts += np.bincount(strata[in_class], minlength=num_strata)
        batches.append((strata[in_class].astype(np.int16), keys[in_class]))
    ends = np.cumsum(counts)
    places = ends - counts
    by_class = np.empty(ends[-1], np.uint64)
    while batches:
        strata16, keys = batches.pop()
        order = np.argsort(strata16, kind="stable")
        sizes = np.bincount(strata16, minlength=num_strata)
        starts = np.cumsum(sizes) - sizes
        by_class[np.repeat(places - starts, sizes) + np.arange(len(order))] = keys[order]
        places += sizes
    classes = [by_class[end - count : end] for count, end in zip(counts, ends, strict=True)]

    def ranked(stratum: int, rank: int) -> int:
        """The key of this rank in a class, from 0."""
        if rank >= len(classes[stratum]):
            return _ABOVE_ALL
        classes[stratum].partition(rank)
        return int(classes[stratum][rank])

    share = Fraction(str(test_fraction))
    total = round(share * int(ends[-1]))
    for name, part in ((TEST, total), (TRAIN, ends[-1] - total)):
        if part == 0:
            raise UserError(
                f"none of the {ends[-1]} rows falls into the split {name}; give another "
                "--test-fraction (0 for no test split)"
            )
    asked = share * counts.astype(object)
    least = [int(part) for part in asked]
    tie = [ranked(stratum, count) for stratum, count in enumerate(least)]
    chosen = counts_for_testing(counts.tolist(), share, total, tie)
    return Division(seed, tuple(ranked(stratum, count) for stratum, count in enumerate(chosen)))


def counts_for_testing(
    counts: Sequence[int], share: Fraction, total: int, tie: Sequence[int]
) -> list[int]:
    """How many rows of each class are for testing, by largest remainders.

    Each class gives the whole part of its share. Those with the largest remainders give one more,
    until there are `total`.

    A class that would lose its last row for training comes after all others.

    Args:
        counts: rows of each class.
        tie: of equal remainders the class with the lowest of these is first.
    """
    asked = [share * count for count in counts]
    chosen = [int(part) for part in asked]

    def order(stratum: int) -> tuple[bool, Fraction, int]:
        last = counts[stratum] - chosen[stratum] < 2
        return last, chosen[stratum] - asked[stratum], tie[stratum]

    waiting = sorted((s for s in range(len(counts)) if asked[s] > chosen[s]), key=order)
    for stratum in waiting[: total - sum(chosen)]:
        chosen[stratum] += 1
    return chosen
