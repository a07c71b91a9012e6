"""How many rows of a dataset each class has, split by split."""

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.dataset import DatasetInfo, iterate_shards
from pipeline.formats.shard import labels_of
from pipeline.formats.splits import TRAIN

_SHOWN = 8


def class_counts(info: DatasetInfo, split: str) -> NDArray[np.int64]:
    """Rows of each class in a split, int64 [K]; one pass over the labels alone."""
    num_classes = len(info.classes)
    counts = np.zeros(num_classes, np.int64)
    if num_classes:
        for table in iterate_shards(info, split, ["label"]):
            labels = labels_of(table)
            inside = (labels >= 0) & (labels < num_classes)
            counts += np.bincount(labels[inside], minlength=num_classes)
    return counts


def untrained_classes(info: DatasetInfo) -> tuple[int, ...]:
    """The labels of the classes that have no row in the train split."""
    return tuple(np.flatnonzero(class_counts(info, TRAIN) == 0).tolist())


def class_notes(info: DatasetInfo) -> tuple[str, ...]:
    """Lines for a person: which classes have no picture at all, and which none to train on."""
    by_split = {split: class_counts(info, split) for split in info.splits}
    everywhere = sum(by_split.values(), np.zeros(len(info.classes), np.int64))
    notes = []
    if len(info.classes) > 1 and everywhere.max() == 1:
        notes.append("no class has more than one picture; are the labels ids?")
    if absent := np.flatnonzero(everywhere == 0).tolist():
        notes.append(f"classes without a picture: {_names(info, absent)}")
    if TRAIN in by_split:
        missing = np.flatnonzero((by_split[TRAIN] == 0) & (everywhere > 0)).tolist()
        if missing:
            notes.append(
                "classes without a picture to train on, of which nothing will be generated: "
                f"{_names(info, missing)}"
            )
    return tuple(notes)


def _names(info: DatasetInfo, labels: list[int]) -> str:
    more = f", ... ({len(labels)} in all)" if len(labels) > _SHOWN else ""
    return ", ".join(info.classes[label] for label in labels[:_SHOWN]) + more
