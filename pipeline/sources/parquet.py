"""Parquet files with encoded pictures, and labels and/or captions; Hugging Face's layout too."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.formats.id_ledger import IdLedger, digests_of
from pipeline.formats.quarantine import BadRow
from pipeline.sources.base import KEYS_AT_ONCE, RawRow, Source, SourceEntry
from pipeline.sources.listing import user_files
from pipeline.sources.parquet_columns import SPLIT_COLUMN, choose_columns
from pipeline.sources.parquet_files import UNREADABLE, InputFile, InputFiles, find_files, values_of
from pipeline.sources.parquet_labels import understand_labels
from pipeline.sources.parquet_splits import splits_of_files
from pipeline.sources.splits import UNLABELED, SplitsFrom, usable_splits


class ParquetSource(Source):
    """One Parquet file, or all those in a folder and below it, in the order of their names.

    Dots in a column's name lead into structs. A folder's name may replace a column: `label=cat`.

    Splits come from the names of folders or files, hive keys (`split=train`) or a column, by the
    words of `pipeline.sources.splits`. Only the named columns and the needed row groups are read.

    A row is bad if it has no picture, no label or a label outside the classes, or text that is not
    UTF-8, or if its row group is damaged (its id is then that of a row without an id column).

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
            Path(path).absolute(), (split_column or SPLIT_COLUMN) if by_name else None
        )
        labelled = tuple(file for file in files if file.split != UNLABELED)
        self._files = InputFiles(labelled or files)
        self.notes = tuple(
            f"{file.path} has no labels and is left out"
            for file in files
            if file not in self._files
        )
        self._columns = choose_columns(
            self._files,
            image=image_column,
            label=label_column,
            caption=caption_column,
            id=id_column,
            split=split_column,
            splits_from=splits_from,
        )
        self.num_rows = self._files.num_rows
        if self.num_rows == 0:
            raise UserError(f"the Parquet files in {path} have no rows; check the path")
        split_names, self.splits_origin = splits_of_files(self._files, self._columns)
        self.splits = usable_splits(split_names)
        self.has_captions = self._columns.caption is not None
        self.classes = ()
        if self._columns.label is not None:
            self._labels = understand_labels(self._files, self._columns.label, classes)
            self.classes = self._labels.classes
            self.notes += self._labels.notes
        if self._columns.id is not None:
            self._check_ids(self._columns.id)

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
        if self._columns.label is None:
            return None
        for number, values in self._files.batches(self._columns.label):
            labels = self._labels_of(values, self._files.file_of(number)[0])
            if (labels < 0).any():
                return number + int(np.argmax(labels < 0))
        return None

    @user_files()
    def keys(self) -> Iterator[tuple[list[str], NDArray[np.int64]]]:
        columns = [name for name in (self._columns.label, self._columns.id) if name is not None]
        for file in self._files:
            if not columns:
                for start in range(0, file.num_rows, KEYS_AT_ONCE):
                    rows = range(start, min(start + KEYS_AT_ONCE, file.num_rows))
                    yield list(map(file.row_id, rows)), np.full(len(rows), -1, np.int64)
            for number, cells in file.batches_of(columns) if columns else ():
                rows = range(number, number + len(cells[0]))
                labels = np.full(len(rows), -1, np.int64)
                good = np.arange(len(rows))
                if self._columns.label is not None:
                    labels = self._labels_of(cells[0], file)
                    good = np.flatnonzero(labels >= 0)
                if self._columns.id is None:
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
            table = file.read(first, last, self._columns.names)
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
        names = self._columns.names
        columns = [values_of(table.column(name)) for name in names]
        return [
            self._row(file, row, position, dict(zip(names, cells, strict=True)))
            for row, cells in enumerate(zip(*columns, strict=True), first)
        ]

    def _row(
        self, file: InputFile, row: int, position: int, cells: dict[str, Any]
    ) -> RawRow | BadRow:
        columns = self._columns
        name = file.row_id(row) if columns.id is None else str(cells[columns.id])
        image = cells[columns.image]
        label = -1
        if columns.label is not None:
            label = self._labels.label_of(cells[columns.label], file.name)
        fault = self._fault(image, label, cells)
        if fault:
            origin = file.origin(row)
            return BadRow(name, position + row, origin, f"{origin} has {fault}")
        return RawRow(
            id=name,
            image=image,
            label=label,
            caption=None if columns.caption is None else cells[columns.caption] or "",
            split=self._split_of(file, cells) if self.splits else None,
            origin=file.origin(row),
        )

    def _fault(self, image: bytes | None, label: int, cells: dict[str, Any]) -> str:
        """What is wrong with a row, with the remedy; empty for a good row."""
        columns = self._columns
        if image is None:
            return (
                f"no picture in column {columns.image}; remove the row, or store the pictures' "
                "bytes in the file"
            )
        for name, value in cells.items():
            if value is UNREADABLE:
                return f"text in column {name} that is not UTF-8; correct it"
        if columns.split is not None and columns.split_of(cells[columns.split]) == UNLABELED:
            value = cells[columns.split]
            return f"no label, as {value} in column {columns.split} says; remove the row"
        if columns.label is None or label >= 0:
            return ""
        value = cells[columns.label]
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
        column = self._columns.split
        return file.split if column is None else self._columns.split_of(cells[column])

    def _check_ids(self, column: str) -> None:
        """Raises UserError if an id is missing or comes twice; needs bounded memory."""
        with IdLedger(self.num_rows) as ledger:
            for number, values in self._files.batches(column):
                if values.null_count:
                    row = number + int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
                    self._refuse_id(column, row)
                ids = values.cast(pa.string())
                ledger.add(digests_of(ids), np.arange(number, number + len(ids)))
            repeated = min(ledger.repeats(), default=None)
        if repeated is not None:
            self._refuse_id(column, repeated[0])

    def _refuse_id(self, column: str, row: int) -> NoReturn:
        file, row = self._files.file_of(row)
        (value,) = values_of(file.read(row, row + 1, [column]).column(column))
        raise UserError(
            f"{file.origin(row)} has "
            + ("no id" if value is None else f"the id {value}, which came before")
            + f" in column {column}; make the ids unique, or leave out --id-column"
        )


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
