"""Which classes have pictures, and which have some to train on."""

from pathlib import Path

import numpy as np

from jobs.train_stack import plan_stack
from jobs.train_stack.config import TrainStackConfig
from pipeline.formats.class_counts import class_counts, class_notes, untrained_classes
from pipeline.formats.dataset import DatasetInfo, dataset_table, write_dataset_info, write_shard


def write(path: Path, **labels: list[int]) -> DatasetInfo:
    splits = {}
    for split, there in labels.items():
        ids = [f"{split}-{row}" for row in range(len(there))]
        table = dataset_table(ids, np.zeros((len(there), 2, 2, 1), np.uint8), there, None)
        splits[split] = [write_shard(table, path, f"{split}/part-00000.parquet")]
    return write_dataset_info(
        path, shape=(2, 2, 1), classes=tuple("abcd"), splits=splits, has_captions=False, origin={}
    )


def test_rows_are_counted_class_by_class(tmp_path: Path) -> None:
    info = write(tmp_path, train=[0, 0, 3], test=[2, 3, -1])
    assert class_counts(info, "train").tolist() == [2, 0, 0, 1]
    assert class_counts(info, "test").tolist() == [0, 0, 1, 1]
    assert untrained_classes(info) == (1, 2)
    absent, untrained = class_notes(info)
    assert absent == "classes without a picture: b"
    assert untrained.endswith("of which nothing will be generated: c")


def test_nothing_is_said_where_every_class_is_trained_on(tmp_path: Path) -> None:
    assert class_notes(write(tmp_path / "a", train=[0, 1, 2, 3], test=[1])) == ()
    assert class_notes(write(tmp_path / "b", test=[0, 1, 2, 3, 3])) == ()


def test_labels_that_never_come_twice_are_asked_about(tmp_path: Path) -> None:
    (note,) = class_notes(write(tmp_path, train=[0, 1, 2, 3]))
    assert note == "no class has more than one picture; are the labels ids?"


def test_the_stack_that_is_planned_knows_the_classes_that_it_will_not_have_seen(
    tmp_path: Path,
) -> None:
    info = write(tmp_path, train=[0, 0, 3], test=[2])
    asked = {"dataset": tmp_path, "output": tmp_path / "run", "stages": (2,), "widths": (8,)}
    config = TrainStackConfig(**asked, blocks=(1,))
    assert plan_stack(config, info).untrained == (1, 2)
