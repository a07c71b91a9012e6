"""The picture of a dataset."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.output import atomic_path
from pipeline.formats.shard import Shard, images_of, labels_of, read_part
from pipeline.pictures import display_scale, grid
from pipeline.plots.class_sheet import class_sheet

GRID_FILE = "grid.png"
_GRID_PER_CLASS = 8
_GRID_SHARDS = 64  # read for the sheet at most, whatever the size of the set
_GRID_CLASSES = 20  # more would make a sheet that nobody can look at


def draw_grid(directory: Path, shards: Sequence[Shard], classes: tuple[str, ...]) -> None:
    """``grid.png``: a few pictures of each class, or of all where there are no classes.

    They are the first ones of a small split; of a large one only some shards, spread evenly over
    it, are read (in a folder's order the first shards hold one class alone).
    """
    shown = classes[:_GRID_CLASSES]
    wanted = [_GRID_PER_CLASS] * len(shown) or [_GRID_PER_CLASS**2]
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for index in np.unique(np.linspace(0, len(shards) - 1, _GRID_SHARDS).astype(int)):
        if not any(wanted):
            break
        there = _labels(directory, shards[index], classes)
        for label, missing in enumerate(wanted):
            for row in np.flatnonzero(there == label)[:missing]:
                table = read_part(directory / shards[index].file, row, row + 1, ["image"])
                images.append(images_of(table))
                labels.append(label)
                wanted[label] -= 1
    pictures = np.concatenate(images)
    if classes:
        sheet = class_sheet(pictures, np.array(labels), shown, per_class=_GRID_PER_CLASS)
    else:
        sheet = grid(pictures, _GRID_PER_CLASS, scale=display_scale(max(pictures.shape[1:3])))
    with atomic_path(directory / GRID_FILE) as temporary:
        sheet.save(temporary, format="PNG")


def _labels(directory: Path, shard: Shard, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """The labels of a shard's rows; 0 for all where there are no classes."""
    if not classes:
        return np.zeros(shard.num_rows, np.int64)
    return labels_of(read_part(directory / shard.file, 0, shard.num_rows, ["label"]))
