"""Parquet files as a source finds them: in folders, by split, by row group, value by value."""

import re
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.shard import open_parquet
from pipeline.sources.listing import files_below

UNREADABLE = object()  # in the place of text that is not UTF-8
_SPLIT = re.compile(r"(train|test|validation|valid|val)(?:[-_.].*)?")


@dataclass(frozen=True)
class FoundFile:
    """A Parquet file.

    name: relative to the folder, without the ending. split: what its name or a folder's says.
    """

    path: Path
    name: str
    split: str | None
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


def find_files(path: Path) -> tuple[FoundFile, ...]:
    """The Parquet file at a path, or all those in the folder and below it, by name.

    Raises UserError when there are none.
    """
    if path.is_dir():
        found = [path / name for name in files_below(path) if name.endswith(".parquet")]
        if not found:
            raise UserError(f"{path} has no Parquet files (*.parquet); check the path")
    elif path.is_file():
        found = [path]
    else:
        raise UserError(f"there is no file or folder {path}; check the path")
    root = path if path.is_dir() else path.parent
    return tuple(_describe(file, root) for file in found)


def _describe(file: Path, root: Path) -> FoundFile:
    inside = file.relative_to(root)
    matches = [_SPLIT.fullmatch(part) for part in (*inside.parts[:-1], inside.stem)]
    split = next((match[1] for match in matches if match), None)
    with open_parquet(file) as opened:
        return FoundFile(file, inside.with_suffix("").as_posix(), split, opened.metadata.num_rows)


def schema_of(path: Path) -> pa.Schema:
    """The columns of a Parquet file."""
    with open_parquet(path) as file:
        return file.schema_arrow


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
