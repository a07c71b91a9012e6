"""The Parquet files of a source: found in folders, and read by row group or column."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.shard import open_parquet, read_part
from pipeline.sources.cells import hive_keys, plain_cells, plain_schema, whole
from pipeline.sources.listing import files_below
from pipeline.sources.splits import split_of_path

_ENDINGS = (".parquet", ".parq", ".pq")
UNREADABLE = object()  # in the place of text that is not UTF-8


@dataclass(frozen=True)
class InputFile:
    """A Parquet file.

    Attributes:
        name: relative to the folder, without the ending.
        split: what its name or a folder's name says; None where neither says one.
        split_origin: which of these says the split; empty for none.
        num_rows: of its header.
    """

    path: Path
    name: str
    split: str | None
    split_origin: str
    num_rows: int

    def row_id(self, row: int) -> str:
        """The id of a row where no column gives one."""
        return f"{self.name}-{row:0{len(str(self.num_rows - 1))}d}"

    def origin(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"row {row} of {self.path}"

    def row_groups(self) -> list[tuple[int, int]]:
        """The rows of each row group, from and up to."""
        with open_parquet(self.path) as file:
            groups = range(file.num_row_groups)
            stops = list(accumulate(file.metadata.row_group(group).num_rows for group in groups))
        return list(zip([0, *stops], stops, strict=False))

    def schema(self) -> pa.Schema:
        """The columns that can be asked for; see `plain_schema`."""
        with open_parquet(self.path) as file:
            return plain_schema(file.schema_arrow, hive_keys(self.name))

    def read(self, first: int, last: int, columns: list[str]) -> pa.Table:
        """Columns of `schema` in rows first to last (exclusive).

        Raises:
            UserError: the file cannot be read.
            IndexError: it has fewer rows.
        """
        table = read_part(self.path, first, last, columns)
        keys = hive_keys(self.name)
        return pa.table({name: plain_cells(table, name, keys) for name in columns})

    def batches(self, column: str) -> Iterator[tuple[int, pa.Array]]:
        """One column; see `batches_of`."""
        for number, (values,) in self.batches_of([column]):
            yield number, values

    def batches_of(self, columns: list[str]) -> Iterator[tuple[int, list[pa.Array]]]:
        """Columns of `schema`, batch by batch: the number of its first row, and the values of each.

        Numbers that are not whole are null. Damaged row groups are passed over: `read` finds them.
        """
        keys = hive_keys(self.name)
        with open_parquet(self.path) as opened:
            for group, (number, _) in enumerate(self.row_groups()):
                try:
                    for batch in opened.iter_batches(row_groups=[group], columns=columns):
                        table = pa.Table.from_batches([batch])
                        cells = [plain_cells(table, column, keys) for column in columns]
                        yield (
                            number,
                            [
                                whole(part.combine_chunks() if hasattr(part, "chunks") else part)
                                for part in cells
                            ],
                        )
                        number += len(cells[0])
                except (pa.ArrowException, OSError):
                    continue


@dataclass(frozen=True)
class InputFiles:
    """Parquet files one after the other, whose rows are numbered through."""

    files: tuple[InputFile, ...]

    def __iter__(self) -> Iterator[InputFile]:
        return iter(self.files)

    @property
    def first(self) -> InputFile:
        """The file whose columns all others must have."""
        return self.files[0]

    @property
    def num_rows(self) -> int:
        """Of all files."""
        return sum(file.num_rows for file in self.files)

    def file_of(self, row: int) -> tuple[InputFile, int]:
        """The file of a row, and the row's number there."""
        for file in self.files:
            if row < file.num_rows:
                break
            row -= file.num_rows
        return file, row

    def batches(self, column: str) -> Iterator[tuple[int, pa.Array]]:
        """One column of all files, in order, a batch at a time: its first row, and its values.

        Damaged row groups are passed over: `InputFile.read` finds them.
        """
        position = 0
        for file in self.files:
            for number, values in file.batches(column):
                yield position + number, values
            position += file.num_rows


def find_files(path: Path, split_key: str | None) -> tuple[InputFile, ...]:
    """The Parquet file at a path, or all those in the folder and below it, by name.

    Args:
        split_key: the hive key that says a split; None where names say nothing of splits.

    Raises:
        UserError: there are none, or a path says several splits.
    """
    if path.is_dir():
        files = [path / name for name in files_below(path) if name.lower().endswith(_ENDINGS)]
        if not files:
            raise UserError(f"{path} has no Parquet files (*.parquet); check the path")
    elif path.is_file():
        files = [path]
    else:
        raise UserError(f"there is no file or folder {path}; check the path")
    by_name: dict[Path, Path] = {}
    for file in files:
        other = by_name.setdefault(file.with_suffix(""), file)
        if other != file:
            raise UserError(f"{other} and {file} differ in their endings alone; rename one of them")
    root = path if path.is_dir() else path.parent
    return tuple(_describe(file, root, split_key) for file in files)


def _describe(file: Path, root: Path, split_key: str | None) -> InputFile:
    inside = file.relative_to(root).with_suffix("")
    said = None if split_key is None else split_of_path(inside.parts, split_key, file)
    split, split_origin = said or (None, "")
    with open_parquet(file) as opened:
        return InputFile(file, inside.as_posix(), split, split_origin, opened.metadata.num_rows)


def values_of(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """A column's values; UNREADABLE for text that is not UTF-8, which Arrow does not check."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return UNREADABLE
