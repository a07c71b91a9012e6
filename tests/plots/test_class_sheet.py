"""The sheet of samples by class: the right picture, pixel for pixel, at the right place."""

import numpy as np
import pytest

from pipeline.plots.class_sheet import GAP, MARGIN, class_sheet, rows_by_class
from pipeline.plots.lettering import PAPER, truncated, typeface


def pictures(num: int, height: int, width: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (num, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width", "scale"), [(8, 8, 7), (6, 4, 3), (64, 64, 1)])
@pytest.mark.parametrize("num_classes", [2, 20])
def test_each_picture_stands_in_its_classes_row_in_the_order_of_its_index(
    channels: int, height: int, width: int, scale: int, num_classes: int
) -> None:
    per_class = 3
    images = pictures(4 * num_classes, height, width, channels)
    labels = np.random.default_rng(1).permutation(np.arange(4 * num_classes) % num_classes)
    names = [f"class {i}" for i in range(num_classes)]
    sheet = np.asarray(class_sheet(images, labels, names, per_class=per_class, scale=scale))

    tall, wide = height * scale + GAP, width * scale + GAP
    left = sheet.shape[1] - MARGIN - (per_class * wide - GAP)
    assert sheet.shape == (2 * MARGIN + num_classes * tall - GAP, sheet.shape[1], 3)
    covered = np.zeros(sheet.shape[:2], dtype=bool)
    covered[:, :left] = True  # names
    for row in range(num_classes):
        for column, index in enumerate(np.flatnonzero(labels == row)[:per_class]):
            top, start = MARGIN + row * tall, left + column * wide
            place = np.s_[top : top + height * scale, start : start + width * scale]
            expected = images[index].repeat(scale, axis=0).repeat(scale, axis=1)
            assert np.array_equal(sheet[place], np.broadcast_to(expected, sheet[place].shape))
            covered[place] = True
    assert (sheet[~covered] == PAPER).all()


def test_a_row_begins_with_its_name_and_an_empty_class_keeps_its_row() -> None:
    images = pictures(4, 8, 8, 1)
    sheet = np.asarray(class_sheet(images, np.array([0, 0, 2, 2]), ["a", "b", "c"], scale=4))
    left = sheet.shape[1] - MARGIN - (2 * (32 + GAP) - GAP)
    for row in range(3):
        top = MARGIN + row * (32 + GAP)
        assert (sheet[top : top + 32, :left] < 100).any()  # letters
    empty = MARGIN + 32 + GAP
    assert (sheet[empty : empty + 32, left:] == PAPER).all()


def test_rows_hold_the_first_of_each_class_and_unlabelled_pictures_come_last() -> None:
    images = pictures(7, 2, 2, 1)
    rows = rows_by_class(images, np.array([1, -1, 1, 0, 1, -1, 0]), ["x", "y"], per_class=2)
    assert [row.name for row in rows] == ["x", "y", "no label"]
    for row, expected in zip(rows, ([3, 6], [0, 2], [1, 5]), strict=True):
        assert np.array_equal(row.images, images[expected])


def test_a_model_without_classes_gets_one_row_without_a_name() -> None:
    images = pictures(3, 4, 4, 3)
    (row,) = rows_by_class(images, np.full(3, -1), [])
    assert row.name == ""
    sheet = np.asarray(class_sheet(images, np.full(3, -1), [], scale=1))
    assert sheet.shape == (2 * MARGIN + 4, 2 * MARGIN + 3 * (4 + GAP) - GAP, 3)


def test_a_name_that_is_too_wide_is_cut_to_fit() -> None:
    name = "a class with a very, very long name indeed"
    cut = truncated(name, 15, 100)
    assert cut.endswith("…")
    assert name.startswith(cut[:-1])
    assert typeface(15).getlength(cut) <= 100
    assert truncated("bag", 15, 100) == "bag"
