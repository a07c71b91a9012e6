"""One Parquet file of a dataset, a sample set or a perturbation set: writing and reading it.

Pictures are stored as Arrow's `fixed_shape_tensor` of uint8, height x width x channels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.formats.output import atomic_path, sha256_of_file

_GROUP_BYTES = 8 << 20
_GROUP_ROWS = 512


@dataclass(frozen=True)
class Shard:
    """A Parquet file: its path relative to the set's directory, rows, hash and size in bytes."""

    file: str
    num_rows: int
    sha256: str
    num_bytes: int


def write_shard(
    table: pa.Table, directory: Path | str, file: str, *, dictionary: bool = True
) -> Shard:
    """Writes `table` to `directory/file` atomically; the same rows always give the same bytes.

    A row group holds at most 8 MiB of pictures or 512 rows, so that a few rows can be read cheaply
    and Ray can pack row groups into blocks.

    Args:
        dictionary: whether Parquet may keep a column's distinct values apart, once each.
    """
    table = table.combine_chunks()
    row_bytes = max(1, table.nbytes // max(1, table.num_rows))
    path = Path(directory) / file
    with atomic_path(path) as temporary:
        pq.write_table(
            table,
            temporary,
            row_group_size=max(1, min(_GROUP_ROWS, _GROUP_BYTES // row_bytes)),
            # On Fashion-MNIST: 0.45 kB a picture and the fastest to read; snappy takes 0.51 kB.
            compression="zstd",
            use_dictionary=dictionary,
        )
    return Shard(file, table.num_rows, sha256_of_file(path), path.stat().st_size)


def open_parquet(path: Path | str) -> pq.ParquetFile:
    """Opens a Parquet file.

    Raises:
        UserError: it is missing, truncated or not Parquet.
    """
    try:
        return pq.ParquetFile(path, memory_map=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the path") from None
    except pa.ArrowMemoryError:  # this machine's fault, and not the file's
        raise
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path} is not a Parquet file, or is cut short ({error}); copy or make it anew"
        ) from None


def read_part(
    path: Path | str, start: int, stop: int, columns: list[str] | None = None
) -> pa.Table:
    """Rows start to stop (exclusive) of a Parquet file; only the row groups they lie in are read.

    Raises:
        UserError: the file cannot be read.
        IndexError: it has fewer rows.
    """
    with open_parquet(path) as file:
        if not 0 <= start <= stop <= file.metadata.num_rows:
            raise IndexError(f"rows {start} to {stop} of {file.metadata.num_rows} in {path}")
        groups, skipped, position = [], 0, 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if position + rows <= start:
                skipped = position + rows
            elif position < stop:
                groups.append(group)
            position += rows
        try:
            table = file.read_row_groups(groups, columns=columns)
        except pa.ArrowMemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path} is damaged ({error}); copy or make it anew") from None
        return table.slice(start - skipped, stop - start)


def read_range(
    directory: Path,
    shards: Sequence[Shard],
    start: int,
    stop: int,
    columns: list[str] | None = None,
) -> pa.Table:
    """Rows start to stop (exclusive) of consecutive shards; shards without such rows stay closed.

    Raises:
        IndexError: the shards have fewer rows, or there is no shard at all.
    """
    total = sum(shard.num_rows for shard in shards)
    if not shards or not 0 <= start <= stop <= total:
        raise IndexError(f"rows {start} to {stop} of {total} in {directory}")
    parts: list[pa.Table] = []
    position = 0
    for shard in shards:
        first, last = max(start - position, 0), min(stop - position, shard.num_rows)
        if first < last:
            parts.append(read_part(directory / shard.file, first, last, columns))
        position += shard.num_rows
    if not parts:
        return read_part(directory / shards[0].file, 0, 0, columns)
    return pa.concat_tables(parts)


def iterate(
    directory: Path, shards: Sequence[Shard], columns: list[str] | None = None
) -> Iterator[pa.Table]:
    """Each shard's table in turn; one shard is in memory at a time."""
    for shard in shards:
        yield read_part(directory / shard.file, 0, shard.num_rows, columns)


def check_present(directory: Path, shards: Sequence[Shard]) -> None:
    """Raises UserError if a shard is missing or has another size than recorded."""
    for shard in shards:
        path = directory / shard.file
        if not path.is_file():
            raise UserError(f"{path} is missing; copy {directory} whole, or make it anew")
        if path.stat().st_size != shard.num_bytes:
            raise UserError(
                f"{path} has {path.stat().st_size} bytes where {shard.num_bytes} are recorded; "
                f"copy {directory} whole, or make it anew"
            )


def shards_from_json(entries: Any, described_in: Path) -> tuple[Shard, ...]:
    """Shards from their JSON objects; other keys are allowed beside the four of `Shard`.

    Raises UserError, which names the file `described_in`, when a key is missing.
    """
    try:
        return tuple(
            Shard(
                str(entry["file"]),
                int(entry["num_rows"]),
                str(entry["sha256"]),
                int(entry["num_bytes"]),
            )
            for entry in entries
        )
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{described_in} does not list its shards with file, num_rows, sha256 and num_bytes; "
            "make it anew"
        ) from None


def table_of(values: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """A table of columns, in the schema's order, each an Arrow array or what makes one."""
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value, schema.field(name).type)
        for name, value in values.items()
    ]
    return pa.table(arrays, schema=schema)


def image_column(images: NDArray[np.uint8]) -> pa.FixedShapeTensorArray:
    """The Arrow column of pictures uint8 [N, H, W, C]; without a copy if they are contiguous."""
    height, width, channels = images.shape[1:]
    kind = pa.fixed_shape_tensor(pa.uint8(), (height, width, channels))
    flat = pa.array(np.ascontiguousarray(images).reshape(-1), pa.uint8())
    storage = pa.FixedSizeListArray.from_arrays(flat, height * width * channels)
    return pa.ExtensionArray.from_storage(kind, storage)


def images_of(table: pa.Table, column: str = "image") -> NDArray[np.uint8]:
    """The pictures of a table, uint8 [N, H, W, C], read-only; no copy where they are one chunk.

    Raises:
        UserError: the column is missing or does not hold fixed-shape uint8 pictures.
    """
    kind = column_type(table, column)
    if not isinstance(kind, pa.FixedShapeTensorType) or kind.value_type != pa.uint8():
        raise UserError(f"column {column} holds {kind} and not pictures of one shape; ingest them")
    chunks = [
        chunk.storage.flatten().to_numpy().reshape(-1, *kind.shape)
        for chunk in table.column(column).chunks
    ]
    if len(chunks) == 1:
        return chunks[0]  # type: ignore[no-any-return]
    return np.concatenate([np.empty((0, *kind.shape), np.uint8), *chunks])


def labels_of(table: pa.Table, column: str = "label") -> NDArray[np.int64]:
    """The labels of a table, int64 [N]; all -1, which is "no condition", without such a column."""
    if column not in table.column_names:
        return np.full(table.num_rows, -1, np.int64)
    labels: NDArray[np.int64] = table.column(column).to_numpy().astype(np.int64, copy=False)
    return labels


def column_type(table: pa.Table, column: str) -> pa.DataType:
    """The Arrow type of a column.

    Raises:
        UserError: the column is missing, or there are two of that name; names the columns.
    """
    check_named_once(table.schema, column, "the table")
    if column not in table.column_names:
        raise UserError(
            f"there is no column {column!r}, only {', '.join(table.column_names)}; "
            "name one of these"
        )
    return table.schema.field(column).type


def check_named_once(schema: pa.Schema, column: str, where: Path | str) -> None:
    """Raises UserError if two columns have that name, for which Arrow raises a KeyError."""
    if schema.names.count(column) > 1:
        raise UserError(f"{where} has two columns called {column}; rename one of them")
