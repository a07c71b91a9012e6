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
from pipeline.formats.dataset import DATASET_FILE, load_dataset, shards_of
from pipeline.formats.hugging_face import class_label_names
from pipeline.formats.output import read_json, sha256_of_file, sha256_of_json
from pipeline.formats.sample_set import MANIFEST_FILE
from pipeline.formats.shard import Shard, column_type, open_parquet, read_range
from pipeline.formats.splits import TRAIN, judged_split
from pipeline.sampling.labels import LabelPlan, SampleLabels, refuse_untrained
from pipeline.sources.cells import plain_cells, plain_schema
from pipeline.sources.listing import user_files

_ROWS_A_READ = 1 << 20


@dataclass(frozen=True)
class Column(LabelPlan):
    """A column of Parquet files, row by row, and again from the first row after the last.

    Only the needed rows are read.

    Attributes:
        directory: where the files are.
        shards: the files, in order, with their hashes.
        column: whole numbers (also as doubles), booleans or text; dots lead into structs.
        classes: the model's.
        names: the classes whose labels the column's numbers are, if a dataset or a set names them;
            None if `label_by_name_or_number` decides.
        captions: whether the texts are kept; they must be names of classes.
    """

    directory: Path
    shards: tuple[Shard, ...]
    column: str
    classes: tuple[str, ...]
    names: tuple[str, ...] | None = None
    captions: bool = False

    @property
    def num_rows(self) -> int:
        return sum(shard.num_rows for shard in self.shards)

    def rows(self, start: int, stop: int) -> SampleLabels:
        parts = []
        while start < stop:
            first = start % self.num_rows
            last = min(first + stop - start, self.num_rows)
            parts.append(self._read(first, last))
            start += last - first
        return SampleLabels(
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
            refuse_untrained(labels, self.classes, untrained, f"column {self.column}")

    def origin(self) -> dict[str, Any]:
        return {
            "column": self.column,
            "sha256": sha256_of_json([[shard.num_rows, shard.sha256] for shard in self.shards]),
            "names": list(self.classes if self.names is None else self.names),
            "captions": self.captions,
        }

    @user_files()
    def _read(self, start: int, stop: int) -> SampleLabels:
        table = read_range(self.directory, self.shards, start, stop, [self.column])
        _plain_kind(table, self.column)
        values = pa.concat_arrays(plain_cells(table, self.column, {}).chunks)
        coded = values.dictionary_encode(null_encoding="encode")
        label_of = [self._label(value) for value in coded.dictionary.to_pylist()]
        is_label = np.array([label is not None for label in label_of], bool)
        codes = coded.indices.to_numpy()
        if not is_label.all():
            row = int(np.argmax(~is_label[codes]))
            raise UserError(
                f"{self._place(start + row)}: {no_class(values[row].as_py(), self.classes)}"
            )
        return SampleLabels(
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

    def _place(self, row: int) -> str:
        """A row of the column in words."""
        for shard in self.shards:
            if row < shard.num_rows:
                break
            row -= shard.num_rows
        return f"row {row} of {self.directory / shard.file}, column {self.column}"


@user_files()
def open_column(
    path: Path,
    column: str,
    classes: Sequence[str],
    *,
    split: str | None = None,
    captions: bool = False,
) -> Column:
    """The plan of a column of a Parquet file, of the Parquet files in a folder, or of a dataset.

    Args:
        path: of the file, folder or dataset.
        column: its name; dots lead into structs.
        classes: the model's.
        split: of a dataset; None for ``train``, or if it has none the split to judge on.
        captions: whether the column's texts are captions to be kept.

    Raises:
        UserError: there is no file, no such column, or a column of another type.
    """
    names: tuple[str, ...] | None = None
    if (path / DATASET_FILE).is_file():
        info = load_dataset(path)
        chosen = split or (TRAIN if TRAIN in info.splits else judged_split(info))
        directory, shards = info.path, shards_of(info, chosen)
        names = info.classes or None
    else:
        if split is not None:
            raise UserError(f"--labels-split {split}: {path} is not a dataset; leave it out")
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        directory = path if path.is_dir() else path.parent
        names = _names_of_set(directory) or _names_in_headers(files, column)
        shards = tuple(map(_describe, files))
    plan = Column(directory, shards, column, tuple(classes), names, captions)
    if not plan.num_rows:
        raise UserError(f"{path} has no rows in Parquet files (*.parquet); check the path")
    with open_parquet(directory / shards[0].file) as file:
        kind = _plain_kind(file.schema_arrow.empty_table(), column)
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if not pa.types.is_string(kind) and (captions or not numbers):
        wanted = "text" if captions else "whole numbers or text"
        raise UserError(f"column {column} of {path} is {kind}, not {wanted}; name another column")
    return plan


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


def _plain_kind(table: pa.Table, column: str) -> pa.DataType:
    """The type that a column, or a field that dots lead to, is read in; UserError without one."""
    schema = plain_schema(table.schema, {})
    if column not in schema.names or column in table.column_names:
        column_type(table, column)
    return schema.field(column).type


def _describe(path: Path) -> Shard:
    with open_parquet(path) as file:
        num_rows = file.metadata.num_rows
    return Shard(path.name, num_rows, sha256_of_file(path), path.stat().st_size)
