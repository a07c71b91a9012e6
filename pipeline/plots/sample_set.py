"""The two pictures of a sample set: its first samples, and the first of each class."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipeline.class_names import NO_LABEL
from pipeline.formats.output import atomic_path
from pipeline.formats.shard import Shard, images_of, iterate, labels_of, read_part, read_range
from pipeline.pictures import display_scale, grid
from pipeline.plots.class_sheet import class_sheet

GRID_FILE = "grid.png"
CLASSES_FILE = "classes.png"
_GRID_COLUMNS, _GRID_ROWS = 10, 10
_PER_CLASS = 10
# A class that has not come by then is rare, or not among the samples; labels alone are read.
_SEARCHED_ROWS = 1_000_000


def draw_sample_set(directory: Path, shards: Sequence[Shard], classes: Sequence[str]) -> None:
    """Writes ``grid.png``, the first samples in order, and ``classes.png``, a row a class.

    The pictures are not selected. A class without samples has no row.

    Args:
        shards: at least one, in order.
        classes: the name of each label.
    """
    total = sum(shard.num_rows for shard in shards)
    first = read_range(directory, shards, 0, min(total, _GRID_COLUMNS * _GRID_ROWS), ["image"])
    images = images_of(first)
    plain = grid(
        images,
        min(_GRID_COLUMNS, len(images)),
        scale=display_scale(max(images.shape[1:3])),
    )
    rows, labels = first_of_each_class(
        (labels_of(table) for table in iterate(directory, shards, ["label"])),
        len(classes),
        _PER_CLASS,
    )
    present = np.unique(labels[labels != NO_LABEL])
    sheet = class_sheet(
        _pictures(directory, shards, rows),
        np.where(labels == NO_LABEL, NO_LABEL, np.searchsorted(present, labels)),
        [classes[label] for label in present],
        per_class=_PER_CLASS,
    )
    for name, picture in {GRID_FILE: plain, CLASSES_FILE: sheet}.items():
        with atomic_path(directory / name) as temporary:
            picture.save(temporary, format="png")


def first_of_each_class(
    labels: Iterable[np.ndarray], num_classes: int, per_class: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first rows of each class and of the rows without a label (-1).

    Stops when every class has its rows, or after `_SEARCHED_ROWS` rows.

    Args:
        labels: int64 arrays, the labels of consecutive parts.
        num_classes: labels run from 0 to this number less 1.
        per_class: rows of a class at most.

    Returns:
        The numbers of the rows, rising, and their labels, int64 each.
    """
    rows_of: dict[int, list[int]] = {label: [] for label in range(NO_LABEL, num_classes)}
    wanted = range(num_classes) or (NO_LABEL,)
    start = 0
    for part in labels:
        for label, rows in rows_of.items():
            if len(rows) < per_class:
                more = np.flatnonzero(part == label)[: per_class - len(rows)]
                rows += [start + int(row) for row in more]
        start += len(part)
        if start >= _SEARCHED_ROWS or all(len(rows_of[label]) == per_class for label in wanted):
            break
    pairs = sorted((row, label) for label, rows in rows_of.items() for row in rows)
    return np.array([row for row, _ in pairs], np.int64), np.array(
        [label for _, label in pairs], np.int64
    )


def _pictures(directory: Path, shards: Sequence[Shard], rows: np.ndarray) -> np.ndarray:
    """The pictures of some rows, rising; shards without such rows stay closed."""
    parts, start = [], 0
    for shard in shards:
        inside = rows[(rows >= start) & (rows < start + shard.num_rows)] - start
        if len(inside):
            first, stop = int(inside[0]), int(inside[-1]) + 1
            table = read_part(directory / shard.file, first, stop, ["image"])
            parts.append(images_of(table)[inside - first])
        start += shard.num_rows
    return np.concatenate(parts)
