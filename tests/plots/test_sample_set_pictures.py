"""The pictures beside a sample set: the right samples, found without reading the rest."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.formats.sample_set import sample_table
from pipeline.formats.shard import Shard, write_shard
from pipeline.pictures import grid
from pipeline.plots.class_sheet import class_sheet
from pipeline.plots.sample_set import draw_sample_set, first_of_each_class


def write(path: Path, labels: np.ndarray, images: np.ndarray, rows: int) -> list[Shard]:
    shards = []
    for start in range(0, len(labels), rows):
        part = slice(start, min(start + rows, len(labels)))
        indices = np.arange(part.start, part.stop)
        table = sample_table(3, indices, labels[part], images[part])
        shards.append(write_shard(table, path, f"part-{start:05d}.parquet"))
    return shards


@pytest.mark.parametrize("channels", [1, 3])
def test_the_grid_holds_the_first_in_order_and_the_sheet_the_first_of_each_class(
    tmp_path: Path, channels: int
) -> None:
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (350, 8, 8, channels), dtype=np.uint8)
    labels = np.sort(rng.integers(-1, 3, 350))  # all of a class at one place
    shards = write(tmp_path, labels, images, 64)
    draw_sample_set(tmp_path, shards, ("a", "b", "c"))
    with Image.open(tmp_path / "grid.png") as found:
        assert np.array_equal(np.asarray(found), np.asarray(grid(images[:100], 10, scale=8)))
    with Image.open(tmp_path / "classes.png") as found:
        expected = class_sheet(images, labels, ("a", "b", "c"))
        assert np.array_equal(np.asarray(found), np.asarray(expected))


def test_classes_that_were_not_asked_for_have_no_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (8, 8, 8, 1), dtype=np.uint8)
    labels = np.array([3, 1, -1, 1, 3, 3, -1, 1])
    draw_sample_set(tmp_path, write(tmp_path, labels, images, 5), ("a", "b", "c", "d", "e"))
    with Image.open(tmp_path / "classes.png") as found:
        expected = class_sheet(images, np.array([1, 0, -1, 0, 1, 1, -1, 0]), ("b", "d"))
        assert np.array_equal(np.asarray(found), np.asarray(expected))


def test_few_samples_make_small_pictures(tmp_path: Path) -> None:
    images = np.full((3, 8, 8, 1), 9, np.uint8)
    draw_sample_set(tmp_path, write(tmp_path, np.full(3, -1), images, 2), ())
    with Image.open(tmp_path / "grid.png") as found:
        assert np.array_equal(np.asarray(found), np.asarray(grid(images, 3, scale=8)))
    assert (tmp_path / "classes.png").is_file()


def test_labels_are_read_until_each_class_has_its_rows() -> None:
    read = 0

    def parts() -> Iterator[np.ndarray]:
        nonlocal read
        for part in ([0, 0, -1, 0], [1, 0, 1, 1], [0, 1, 2, 2], [2, 2, 2, 2]):
            read += 1
            yield np.array(part)

    rows, labels = first_of_each_class(parts(), 3, 2)
    assert rows.tolist() == [0, 1, 2, 4, 6, 10, 11]
    assert labels.tolist() == [0, 0, -1, 1, 1, 2, 2]
    assert read == 3


def test_a_class_that_does_not_come_is_not_looked_for_without_end() -> None:
    read = 0

    def parts() -> Iterator[np.ndarray]:
        nonlocal read
        while True:
            read += 1
            yield np.zeros(300_000, np.int64)

    rows, _ = first_of_each_class(parts(), 2, 3)
    assert rows.tolist() == [0, 1, 2]
    assert read == 4
