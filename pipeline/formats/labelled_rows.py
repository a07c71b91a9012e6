"""Rows of a dataset that have a label among a classifier's classes, and those that have not."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, labels_of, read_rows
from pipeline.formats.quarantine import BadRow


@dataclass(frozen=True)
class LabelledRows:
    """A range of rows, divided.

    Attributes:
        table: the good rows.
        rows: int64, their numbers in the split.
        bad: the others.
    """

    table: pa.Table
    rows: np.ndarray
    bad: list[BadRow]


def read_labelled(
    info: DatasetInfo,
    split: str,
    start: int,
    stop: int,
    *,
    num_classes: int,
    need: str,
    quarantine: bool,
) -> LabelledRows:
    """Rows start to stop (exclusive) of a split.

    Args:
        info: the dataset.
        split: of the dataset.
        num_classes: labels from 0 to one less are good.
        need: what needs them, for messages, such as "an attack needs".
        quarantine: whether bad rows are set aside.

    Raises:
        UserError: there is a bad row, and bad ones are not set aside.
    """
    table = read_rows(info, split, start, stop)
    labels, bad = labels_of(table), []
    outside = (labels < 0) | (labels >= num_classes)
    for index in np.flatnonzero(outside).tolist():
        origin = f"row {start + index} of {info.path}, split {split}"
        reason = f"{origin}, has label {labels[index]}; {need} labels from 0 to {num_classes - 1}"
        name = str(table.column("id")[index].as_py())
        bad.append(BadRow(name, start + index, origin, reason))
    if bad and not quarantine:
        raise UserError(bad[0].message)
    good = np.flatnonzero(~outside)
    return LabelledRows(table.take(pa.array(good)), start + good, bad)
