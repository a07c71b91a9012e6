"""Labels from a column of Parquet files: only the rows that are asked for are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.class_names import (
    NO_LABEL,
    class_by_name,
    label_by_name,
    label_by_name_or_number,
    no_class,
)
from pipeline.errors import UserError
from pipeline.formats.dataset import DATASET_FILE, load_dataset
from pipeline.formats.hugging_face import class_label_names
from pipeline.formats.output import read_json
from pipeline.formats.sample_set import MANIFEST_FILE
from pipeline.formats.shard import open_parquet
from pipeline.sampling.column_files import ColumnFiles, open_column_files
from pipeline.sampling.labels import refuse_untrained
from pipeline.sampling.plan import ConditionPlan, PlannedRows
from pipeline.sources.listing import user_files

_ROWS_A_READ = 1 << 20


@dataclass(frozen=True)
class Column(ConditionPlan):
    """A column of Parquet files, row by row, and again from the first row after the last.

    Only the needed rows are read.

    Attributes:
        files: the column: whole numbers (also as doubles), booleans or text.
        classes: the model's.
        names: the classes whose labels the column's numbers are, if a dataset or a set names them;
            None if `label_by_name_or_number` decides.
        captions: whether the texts are kept; they must be names of classes.
    """

    files: ColumnFiles
    classes: tuple[str, ...]
    names: tuple[str, ...] | None = None
    captions: bool = False

    @property
    def num_rows(self) -> int:
        return self.files.num_rows

    def rows(self, start: int, stop: int) -> PlannedRows:
        parts = [self._read(first, last) for first, last in self.files.spans(start, stop)]
        return PlannedRows(
            np.concatenate([np.empty(0, np.int64), *(part.labels for part in parts)]),
            pa.concat_arrays([pa.array([], pa.string()), *(part.captions for part in parts)])
            if self.captions
            else None,
        )

    def check(self, untrained: Sequence[int] = ()) -> None:
        """Reads the whole column once, a million rows at a time.

        Args:
            untrained: labels that nothing may be drawn on.

        Raises:
            UserError: a row that names no class of the model, with its number and file, or an
                untrained one.
        """
        for start in range(0, self.num_rows, _ROWS_A_READ):
            labels = self.rows(start, min(start + _ROWS_A_READ, self.num_rows)).labels
            refuse_untrained(labels, self.classes, untrained, f"column {self.files.column}")

    def origin(self) -> dict[str, Any]:
        return {
            "column": self.files.column,
            "sha256": self.files.sha256,
            "names": list(self.classes if self.names is None else self.names),
            "captions": self.captions,
        }

    @user_files()
    def _read(self, start: int, stop: int) -> PlannedRows:
        values = self.files.cells(start, stop)
        coded = values.dictionary_encode(null_encoding="encode")
        label_of = [self._label(value) for value in coded.dictionary.to_pylist()]
        is_label = np.array([label is not None for label in label_of], bool)
        codes = coded.indices.to_numpy()
        if not is_label.all():
            row = int(np.argmax(~is_label[codes]))
            raise UserError(
                f"{self.files.place(start + row)}: {no_class(values[row].as_py(), self.classes)}"
            )
        return PlannedRows(
            np.array([NO_LABEL if label is None else label for label in label_of], np.int64)[codes],
            values.cast(pa.string()) if self.captions else None,
        )

    def _label(self, value: str | int | float | None) -> int | None:
        if value is None:
            return None
        if isinstance(value, float):
            if not value.is_integer():
                return None
            value = int(value)
        if isinstance(value, int):
            if self.names is None:
                label = label_by_name_or_number(str(value), self.classes)
                return NO_LABEL if label is None and value == NO_LABEL else label
            if 0 <= value < len(self.names):
                return class_by_name(self.names[value], self.classes)
            return NO_LABEL if value == NO_LABEL else None
        if self.captions:
            return label_by_name(value, self.classes)
        return label_by_name_or_number(value, self.classes)


@user_files()
def open_column(
    path: Path,
    column: str,
    classes: Sequence[str],
    *,
    split: str | None = None,
    split_flag: str = "--labels-split",
    captions: bool = False,
) -> Column:
    """The plan of a column of a Parquet file, of the Parquet files in a folder, or of a dataset.

    Args:
        path: of the file, folder or dataset.
        column: its name; dots lead into structs.
        classes: the model's.
        split: of a dataset; None for ``train``, or if it has none the split to judge on.
        split_flag: what says the split, for messages.
        captions: whether the column's texts are captions to be kept.

    Raises:
        UserError: there is no file, no such column, or a column of another type.
    """
    files = open_column_files(path, column, split=split, split_flag=split_flag)
    names: tuple[str, ...] | None
    if (path / DATASET_FILE).is_file():
        names = load_dataset(path).classes or None
    else:
        listed = [files.directory / shard.file for shard in files.shards]
        names = _names_of_set(files.directory) or _names_in_headers(listed, column)
    kind = files.kind
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if not pa.types.is_string(kind) and (captions or not numbers):
        wanted = "text" if captions else "whole numbers or text"
        raise UserError(f"column {column} of {path} is {kind}, not {wanted}; name another column")
    return Column(files, tuple(classes), names, captions)


def _names_of_set(directory: Path) -> tuple[str, ...] | None:
    """The classes of the sample set or perturbation set whose files these are; None without."""
    if not (directory / MANIFEST_FILE).is_file():
        return None
    stored = read_json(directory / MANIFEST_FILE)
    try:
        names = stored["classes"] if "classes" in stored else stored["model"]["classes"]
        return tuple(map(str, names)) or None
    except (KeyError, TypeError):
        return None


def _names_in_headers(files: Sequence[Path], column: str) -> tuple[str, ...] | None:
    """The classes of a ClassLabel column, as Hugging Face's layout has them; None without."""
    file_of: dict[tuple[str, ...], Path] = {}
    for path in files:
        with open_parquet(path) as file:
            file_of.setdefault(class_label_names(file.schema_arrow, column), path)
    if len(file_of) > 1:
        one, other = [*file_of.values()][:2]
        raise UserError(
            f"{one} and {other} name the labels of column {column} differently in their headers; "
            "give --labels-from one file, or ingest them and give the dataset"
        )
    return next(iter(file_of), ()) or None
