"""A column of Parquet files, read row by row: only the rows that are asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.dataset import DATASET_FILE, load_dataset, shards_of
from pipeline.formats.output import sha256_of_file, sha256_of_json
from pipeline.formats.shard import Shard, column_type, open_parquet, read_range
from pipeline.formats.splits import TRAIN, judged_split
from pipeline.sources.cells import plain_cells, plain_schema
from pipeline.sources.listing import user_files


@dataclass(frozen=True)
class ColumnFiles:
    """A column, row by row, and again from the first row after the last.

    Attributes:
        directory: where the files are.
        shards: the files, in order, with their hashes.
        column: its name; dots lead into structs.
    """

    directory: Path
    shards: tuple[Shard, ...]
    column: str

    @property
    def num_rows(self) -> int:
        """Rows of all files."""
        return sum(shard.num_rows for shard in self.shards)

    @property
    def sha256(self) -> str:
        """A hash over the files' rows and hashes."""
        return sha256_of_json([[shard.num_rows, shard.sha256] for shard in self.shards])

    @property
    def kind(self) -> pa.DataType:
        """The type that the column's cells are read in."""
        with open_parquet(self.directory / self.shards[0].file) as file:
            return _plain_kind(file.schema_arrow.empty_table(), self.column)

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The runs of the files' rows that samples ``start`` to ``stop`` (exclusive) take."""
        while start < stop:
            first = start % self.num_rows
            last = min(first + stop - start, self.num_rows)
            yield first, last
            start += last - first

    @user_files()
    def cells(self, start: int, stop: int) -> pa.Array:
        """The cells of the files' rows ``start`` to ``stop`` (exclusive), ``start < stop``."""
        table = read_range(self.directory, self.shards, start, stop, [self.column])
        _plain_kind(table, self.column)
        return pa.concat_arrays(plain_cells(table, self.column, {}).chunks)

    def place(self, row: int) -> str:
        """A row of the files in words."""
        for shard in self.shards:
            if row < shard.num_rows:
                break
            row -= shard.num_rows
        return f"row {row} of {self.directory / shard.file}, column {self.column}"


@user_files()
def open_column_files(
    path: Path, column: str, *, split: str | None, split_flag: str
) -> ColumnFiles:
    """A column of a Parquet file, of the Parquet files in a folder, or of a dataset.

    Args:
        path: of the file, folder or dataset.
        column: its name; dots lead into structs.
        split: of a dataset; None for ``train``, or if it has none the split to judge on.
        split_flag: what says the split, for messages.

    Raises:
        UserError: there is no file, no row or no such column.
    """
    if (path / DATASET_FILE).is_file():
        info = load_dataset(path)
        chosen = split or (TRAIN if TRAIN in info.splits else judged_split(info))
        files = ColumnFiles(info.path, shards_of(info, chosen), column)
    else:
        if split is not None:
            raise UserError(f"{split_flag} {split}: {path} is not a dataset; leave it out")
        listed = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        directory = path if path.is_dir() else path.parent
        files = ColumnFiles(directory, tuple(map(_describe, listed)), column)
    if not files.num_rows:
        raise UserError(f"{path} has no rows in Parquet files (*.parquet); check the path")
    files.kind  # noqa: B018  # refuses a column that is not there
    return files


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
