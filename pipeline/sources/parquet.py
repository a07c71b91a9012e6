"""Parquet files with encoded pictures, and labels and/or captions; Hugging Face's layout too."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.formats.hugging_face import class_label_names
from pipeline.formats.id_ledger import IdLedger, digests_of
from pipeline.formats.quarantine import BadRow
from pipeline.formats.shard import check_named_once
from pipeline.sources.base import KEYS_AT_ONCE, RawRow, Source, SourceEntry
from pipeline.sources.cells import hive_keys, is_boolean
from pipeline.sources.listing import user_files
from pipeline.sources.parquet_files import (
    UNREADABLE,
    InputFile,
    find_files,
    values_of,
)
from pipeline.sources.parquet_labels import (
    Labels,
    labels_by_header,
    labels_by_text,
    labels_by_value,
)
from pipeline.sources.splits import (
    REMEDY,
    UNLABELED,
    SplitsFrom,
    split_in,
    usable_splits,
)

_LABEL_COLUMN = "label"
_CAPTION_COLUMNS = ("caption", "text")
_SPLIT_COLUMN = "split"


class ParquetSource(Source):
    """One Parquet file, or all those in a folder and below it, in the order of their names.

    Dots lead into struct columns; what no column holds may stand in folders' names, `label=cat`.

    The splits are what folders, files, hive keys (`split=train`) or the column say, by the words of
    `pipeline.sources.splits`. Only the columns named, and the row groups asked for, are read.

    A row is bad that has no picture, no label or one outside the classes, text that is not UTF-8,
    or that lies in a damaged row group (its id is then that of a row without an id column).

    Args:
        image_column: encoded pictures as binary, or as Hugging Face's struct with a field `bytes`.
        label_column: whole numbers (also as doubles), booleans, or names of classes; by default
            `label` if there is one.
        caption_column: text; by default `caption` or `text` if there is one. Null becomes "".
        id_column: unique text or whole numbers; by default the file's name and the row.
        classes: in the order of the labels; by default the names that each file's Hugging Face
            header gives to its numbers, or the values in the column, sorted: no class is without a
            row.
        split_column: text that says each row's split; by default `split` if there is one.
        splits_from: "names": that column says nothing; "column": names say nothing; "draw":
            neither.

    Raises:
        UserError: files or columns are missing or of another type, or an id is missing or comes
            twice: such a column names no rows.
    """

    @user_files()
    def __init__(
        self,
        path: Path | str,
        *,
        image_column: str = "image",
        label_column: str | None = None,
        caption_column: str | None = None,
        id_column: str | None = None,
        classes: Sequence[str] | None = None,
        split_column: str | None = None,
        splits_from: SplitsFrom = "auto",
    ) -> None:
        by_name = splits_from in ("auto", "names")
        files = find_files(
            Path(path).absolute(), (split_column or _SPLIT_COLUMN) if by_name else None
        )
        labelled = tuple(file for file in files if file.split != UNLABELED)
        self._files = labelled or files
        self.notes = tuple(
            f"{file.path} has no labels and is left out"
            for file in files
            if file not in self._files
        )
        schema = self._files[0].schema()
        self._image = _column(schema, image_column, "image-column", self._files[0].path)
        if f"{self._image}.bytes" in schema.names:
            self._image += ".bytes"
        self._label = _optional(schema, label_column, (_LABEL_COLUMN,), "label-column", self._files)
        captions = [
            name
            for name in _CAPTION_COLUMNS
            if name in schema.names
            # With labels nobody needs a column that happens to be called so.
            and (self._label is None or _is_text(schema.types[schema.names.index(name)]))
        ]
        self._caption = _optional(schema, caption_column, captions, "caption-column", self._files)
        self._id = _optional(schema, id_column, (), "id-column", self._files)
        if self._label is None and self._caption is None:
            raise UserError(
                f"{self._files[0].path} has no column {_LABEL_COLUMN} and none "
                f"{' or '.join(_CAPTION_COLUMNS)}, only {', '.join(schema.names)}; "
                "name one with --label-column or --caption-column"
            )
        self._split = self._split_column(schema, split_column, splits_from)
        self._check_types(schema)
        self.num_rows = sum(file.num_rows for file in self._files)
        if self.num_rows == 0:
            raise UserError(f"the Parquet files in {path} have no rows; check the path")
        said, self.splits_origin = self._splits_and_origin()
        self.splits = usable_splits(said)
        self.has_captions = self._caption is not None
        self.classes = ()
        if self._label is not None:
            self._labels = self._understand_labels(self._label, classes)
            self.classes = self._labels.classes
            self.notes += self._labels.notes
        if self._id is not None:
            self._check_ids()

    @user_files()
    def read(self, start: int, stop: int) -> list[RawRow | BadRow]:
        rows: list[RawRow | BadRow] = []
        position = 0
        for file in self._files:
            first, last = max(start - position, 0), min(stop - position, file.num_rows)
            if first < last:
                rows += self._read_file(file, first, last, position)
            position += file.num_rows
        return rows

    @user_files()
    def first_bad_label(self) -> int | None:
        if self._label is None:
            return None
        for number, values in self._batches(self._label):
            labels = self._labels_of(values, self._file_of(number)[0])
            if (labels < 0).any():
                return number + int(np.argmax(labels < 0))
        return None

    @user_files()
    def keys(self) -> Iterator[tuple[list[str], NDArray[np.int64]]]:
        columns = [name for name in (self._label, self._id) if name is not None]
        for file in self._files:
            if not columns:
                for start in range(0, file.num_rows, KEYS_AT_ONCE):
                    rows = range(start, min(start + KEYS_AT_ONCE, file.num_rows))
                    yield list(map(file.row_id, rows)), np.full(len(rows), -1, np.int64)
            for number, cells in file.batches_of(columns) if columns else ():
                rows = range(number, number + len(cells[0]))
                labels = np.full(len(rows), -1, np.int64)
                good = np.arange(len(rows))
                if self._label is not None:
                    labels = self._labels_of(cells[0], file)
                    good = np.flatnonzero(labels >= 0)
                if self._id is None:
                    ids = [file.row_id(rows[row]) for row in good.tolist()]
                else:
                    ids = list(map(str, values_of(cells[-1].take(pa.array(good)))))
                yield ids, labels[good]

    def _labels_of(self, values: pa.Array, file: InputFile) -> NDArray[np.int64]:
        """The label of each cell of the label column; -1 where it has none."""
        coded = values.dictionary_encode(null_encoding="encode")
        label_of = [
            self._labels.label_of(value, file.name) for value in values_of(coded.dictionary)
        ]
        labels: NDArray[np.int64] = np.array(label_of, np.int64)[coded.indices.to_numpy()]
        return labels

    def _read_file(
        self, file: InputFile, first: int, last: int, position: int
    ) -> list[RawRow | BadRow]:
        """Rows first to last of a file, whose row 0 is row `position` of the source."""
        try:
            table = file.read(first, last, self._columns)
        except IndexError:
            raise UserError(
                f"{file.path} has fewer rows than when it was listed; run the same command again"
            ) from None
        except UserError as error:
            groups = [group for group in file.row_groups() if group[0] < last and first < group[1]]
            if len(groups) == 1:
                return [
                    BadRow(file.row_id(row), position + row, file.origin(row), str(error))
                    for row in range(first, last)
                ]
            # One group after the other: a damaged one costs its own rows and no others.
            return [
                row
                for start, stop in groups
                for row in self._read_file(file, max(start, first), min(stop, last), position)
            ]
        columns = [values_of(table.column(name)) for name in self._columns]
        return [
            self._row(file, row, position, dict(zip(self._columns, cells, strict=True)))
            for row, cells in enumerate(zip(*columns, strict=True), first)
        ]

    @property
    def _columns(self) -> list[str]:
        names = (self._image, self._label, self._caption, self._id, self._split)
        return list(dict.fromkeys(name for name in names if name is not None))

    def _row(
        self, file: InputFile, row: int, position: int, cells: dict[str, Any]
    ) -> RawRow | BadRow:
        name = file.row_id(row) if self._id is None else str(cells[self._id])
        image = cells[self._image]
        label = -1
        if self._label is not None:
            label = self._labels.label_of(cells[self._label], file.name)
        fault = self._fault(image, label, cells)
        if fault:
            origin = file.origin(row)
            return BadRow(name, position + row, origin, f"{origin} has {fault}")
        return RawRow(
            id=name,
            image=image,
            label=label,
            caption=None if self._caption is None else cells[self._caption] or "",
            split=self._split_of(file, cells) if self.splits else None,
            origin=file.origin(row),
        )

    def _fault(self, image: bytes | None, label: int, cells: dict[str, Any]) -> str:
        """What a row has that makes it bad, with the remedy; empty for a good row."""
        if image is None:
            return (
                f"no picture in column {self._image}; remove the row, or store the pictures' bytes "
                "in the file"
            )
        for name, value in cells.items():
            if value is UNREADABLE:
                return f"text in column {name} that is not UTF-8; correct it"
        if self._split is not None and self._as_split(cells[self._split]) == UNLABELED:
            return f"no label, as {cells[self._split]} in column {self._split} says; remove the row"
        if self._label is None or label >= 0:
            return ""
        value = cells[self._label]
        if value is None or (isinstance(value, str) and not value.strip()):
            return "no label; remove the row, or give it one"
        if isinstance(value, float) and not value.is_integer():
            return (
                f"the label {value}, which is no whole number; round it, or name another column "
                "with --label-column"
            )
        return (
            f"the label {value}, which lies outside the {len(self.classes)} classes "
            f"({', '.join(self.classes[:12])}{', ...' if len(self.classes) > 12 else ''}); "
            "correct it or --classes"
        )

    def _split_of(self, file: InputFile, cells: dict[str, Any]) -> str | None:
        return file.split if self._split is None else self._as_split(cells[self._split])

    def _as_split(self, value: Any) -> str | None:
        """The split that a cell says; None where it says none."""
        if isinstance(value, int) and 0 <= value < len(self._split_names):
            value = self._split_names[value]
        return split_in(value) if isinstance(value, str) else None

    def _split_column(
        self, schema: pa.Schema, name: str | None, splits_from: SplitsFrom
    ) -> str | None:
        """The column that says the splits, of text or of numbers with names; None without one."""
        self._split_names: tuple[str, ...] = ()
        if splits_from in ("names", "draw"):
            return None
        file = self._files[0].path
        taken = (self._label, self._caption, self._id, *hive_keys(self._files[0].name))
        there = _SPLIT_COLUMN in schema.names and _SPLIT_COLUMN not in taken
        if name is None and splits_from == "auto" and not there:
            return None
        column = _column(schema, name or _SPLIT_COLUMN, "split-column", file)
        self._split_names = class_label_names(schema, column)
        kind = schema.field(column).type
        if not _is_text(kind) and not (pa.types.is_integer(kind) and self._split_names):
            raise UserError(
                f"column {column} of {file} is {kind}, not text that says splits; name another "
                "with --split-column, or say where splits come from with --splits-from"
            )
        return column

    def _splits_and_origin(self) -> tuple[list[str], str]:
        """The splits of all rows, and what says them; none where nothing does."""
        if self._split is not None:
            return self._splits_in_column(self._split), f"column {self._split}"
        said = [file.split for file in self._files]
        if not any(said):
            return [], ""
        if not all(said):
            one, other = self._files[said.index(None)], next(f for f in self._files if f.split)
            raise UserError(
                f"{other.path} says the split {other.split}, and {one.path} says none; {REMEDY}"
            )
        return [name for name in said if name], " and ".join(
            dict.fromkeys(file.split_origin for file in self._files)
        )

    def _splits_in_column(self, column: str) -> list[str]:
        splits = set()
        for number, values in self._batches(column):
            file, first = self._file_of(number)
            for value in values_of(values.unique()):
                split = self._as_split(value)
                if split is not None and file.split in (None, split):
                    splits.add(split)
                    continue
                row = file.origin(first + values_of(values).index(value))
                if split is None:
                    raise UserError(
                        f"{row} has {value!r} in column {column}, no split that is known; correct "
                        "it, or say where splits come from with --splits-from"
                    )
                raise UserError(
                    f"{row} has {value!r} in column {column}, and the path says {file.split}; "
                    "say which counts: --splits-from column or --splits-from names"
                )
        return sorted(splits)

    def _check_types(self, schema: pa.Schema) -> None:
        kind = schema.field(self._image).type
        if not pa.types.is_large_binary(kind):
            raise UserError(
                f"column {self._image} of {self._files[0].path} is {kind}, not encoded pictures "
                "(binary, or a struct with a field bytes); name another with --image-column"
            )
        wanted = {
            self._label: (
                "whole numbers or text",
                (pa.types.is_integer, pa.types.is_floating, _is_text),
            ),
            self._caption: ("text", (_is_text,)),
            self._id: ("whole numbers or text", (pa.types.is_integer, _is_text)),
        }
        for name, (words, kinds) in wanted.items():
            if name is not None and not any(fits(schema.field(name).type) for fits in kinds):
                raise UserError(
                    f"column {name} of {self._files[0].path} is {schema.field(name).type}, not "
                    f"{words}; name another column"
                )
        for file in self._files[1:]:
            other = file.schema()
            for name in self._columns:
                check_named_once(other, name, file.path)
                if name not in other.names or other.field(name).type != schema.field(name).type:
                    kind_there = other.field(name).type if name in other.names else "absent"
                    raise UserError(
                        f"column {name} is {schema.field(name).type} in {self._files[0].path} and "
                        f"{kind_there} in {file.path}; ingest them one by one, or convert one"
                    )

    def _understand_labels(self, column: str, classes: Sequence[str] | None) -> Labels:
        schema = self._files[0].schema()
        where = f"column {column} of {self._files[0].path}"
        class_names = None if classes is None else tuple(classes)
        cells = (values_of(values.unique()) for _, values in self._batches(column))
        if _is_text(schema.field(column).type):
            labels = labels_by_text(where, cells, class_names)
            if class_names is not None and is_boolean(schema.field(column)):
                # The names that are given are those of false and of true, in this order.
                return replace(labels, by_text={"false": 0, "true": 1} | dict(labels.by_text))
            values = {hive_keys(file.name).get(column) or "" for file in self._files}
            if (
                class_names is not None
                and all(map(str.isdecimal, values))
                and not values & set(class_names)
            ):
                # Folders' names have no types: these are numbers, and with names given, labels.
                numbers = {text: int(text) for text in values if int(text) < len(labels.classes)}
                return replace(labels, by_text=numbers)
            return labels
        names = {file.name: class_label_names(file.schema(), column) for file in self._files}
        if any(names.values()):
            path_of = {file.name: str(file.path) for file in self._files}
            return labels_by_header(names, path_of.__getitem__, class_names)
        return labels_by_value(where, cells, class_names)

    def _check_ids(self) -> None:
        """Raises UserError at an id that is missing or that came before; in bounded memory."""
        assert self._id is not None
        with IdLedger(self.num_rows) as ledger:
            for number, values in self._batches(self._id):
                if values.null_count:
                    row = number + int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
                    self._refuse_id(row)
                ids = values.cast(pa.string())
                ledger.add(digests_of(ids), np.arange(number, number + len(ids)))
            repeated = min(ledger.repeats(), default=None)
        if repeated is not None:
            self._refuse_id(repeated[0])

    def _refuse_id(self, row: int) -> NoReturn:
        assert self._id is not None
        file, row = self._file_of(row)
        (value,) = values_of(file.read(row, row + 1, [self._id]).column(self._id))
        raise UserError(
            f"{file.origin(row)} has "
            + ("no id" if value is None else f"the id {value}, which came before")
            + f" in column {self._id}; make the ids unique, or leave out --id-column"
        )

    def _file_of(self, row: int) -> tuple[InputFile, int]:
        """The file of a row of the source, and the row's number there."""
        for file in self._files:
            if row < file.num_rows:
                break
            row -= file.num_rows
        return file, row

    def _batches(self, column: str) -> Iterator[tuple[int, pa.Array]]:
        """One column of all files, in order, a batch at a time: its first row, and its values.

        Damaged row groups are passed over: `read` finds them.
        """
        position = 0
        for file in self._files:
            for number, values in file.batches(column):
                yield position + number, values
            position += file.num_rows


def _column(schema: pa.Schema, name: str, flag: str, path: Path) -> str:
    check_named_once(schema, name, path)
    if name not in schema.names:
        raise UserError(
            f"{path} has no column {name!r}, only {', '.join(schema.names)}; name one with --{flag}"
        )
    return name


def _optional(
    schema: pa.Schema,
    name: str | None,
    defaults: Sequence[str],
    flag: str,
    files: Sequence[InputFile],
) -> str | None:
    if name is not None:
        return _column(schema, name, flag, files[0].path)
    default_column = next((default for default in defaults if default in schema.names), None)
    if default_column is not None:
        check_named_once(schema, default_column, files[0].path)
    return default_column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind))


PARQUET = SourceEntry(
    "parquet",
    "encoded pictures",
    lambda o: ParquetSource(
        o.input,
        image_column=o.image_column,
        label_column=o.label_column,
        caption_column=o.caption_column,
        id_column=o.id_column,
        classes=o.classes,
        split_column=o.split_column,
        splits_from=o.splits_from,
    ),
    columns=("image_column", "label_column", "caption_column", "id_column", "split_column"),
)
