"""Samples by class: a row a class, its name at the left, the first pictures in their order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from pipeline.class_names import NO_LABEL
from pipeline.pictures import display_scale, to_image
from pipeline.plots.lettering import INK, PAPER, truncated, typeface

MARGIN = 12  # around the sheet, and between names and pictures; pixels
GAP = 4  # between pictures
_LETTERS = 15
_WIDEST_NAME = 170
_UNLABELLED = "no label"


@dataclass(frozen=True)
class ClassRow:
    """A class's name and its pictures, uint8 ``[N, H, W, C]``; N may be 0."""

    name: str
    images: np.ndarray


def rows_by_class(
    images: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, per_class: int = 10
) -> tuple[ClassRow, ...]:
    """The first ``per_class`` pictures of each class in their order, without any selection.

    Args:
        images: uint8 ``[N, H, W, C]``.
        labels: int64 ``[N]``. Pictures without a label (-1) are in the last row.
        classes: the name of each label; every class has a row, even an empty one.
        per_class: pictures in a row at most.
    """
    wanted = [*enumerate(classes)]
    if (labels == NO_LABEL).any():
        wanted.append((NO_LABEL, _UNLABELLED if classes else ""))
    return tuple(
        ClassRow(name, images[np.flatnonzero(labels == label)[:per_class]])
        for label, name in wanted
    )


def class_sheet(
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    per_class: int = 10,
    scale: int | None = None,
) -> Image.Image:
    """A labelled contact sheet, RGB; arguments as `rows_by_class`.

    `GAP` pixels lie between pictures, `MARGIN` around all; names stand to the left of them.

    Args:
        scale: each pixel becomes a square of this side; None brings pictures near 56 pixels.
    """
    rows = rows_by_class(images, labels, classes, per_class=per_class)
    height, width = images.shape[1:3]
    scale = scale or display_scale(max(height, width), 56)
    tall, wide = height * scale, width * scale
    left = _left_edge([row.name for row in rows])
    columns = max([1, *(len(row.images) for row in rows)])
    sheet = Image.new(
        "RGB",
        (
            left + columns * (wide + GAP) - GAP + MARGIN,
            2 * MARGIN + max(1, len(rows)) * (tall + GAP) - GAP,
        ),
        PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = MARGIN + number * (tall + GAP)
        draw.text(
            (left - MARGIN, top + tall // 2),
            truncated(row.name, _LETTERS, _WIDEST_NAME),
            INK,
            typeface(_LETTERS),
            anchor="rm",
        )
        for column, image in enumerate(row.images):
            enlarged = to_image(image).resize((wide, tall), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (left + column * (wide + GAP), top))
    return sheet


def _left_edge(names: Sequence[str]) -> int:
    """Where pictures begin: names stand to the left of it, flush right."""
    font = typeface(_LETTERS)
    widest = max((font.getlength(truncated(n, _LETTERS, _WIDEST_NAME)) for n in names), default=0)
    return MARGIN + (int(widest) + 1 + MARGIN if widest else 0)
