"""Checks of a single file of a set: its bytes, its columns and its rows."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.formats.id_ledger import digests_of
from pipeline.formats.output import sha256_of_file
from pipeline.formats.perturbation.rows import Tally, add_tally
from pipeline.formats.shard import Shard, open_parquet
from pipeline.verification.faults import Faults
from pipeline.verification.listing import RowRules

_BATCH_ROWS, _BATCH_BYTES = 1 << 16, 64 << 20
Looked = TypeVar("Looked")


@dataclass(frozen=True)
class ListedFile:
    """A file that a manifest lists, and what its rows must be."""

    shard: Shard
    rows: RowRules

    @property
    def part(self) -> tuple[int, str]:
        """A key that sorts as the shards do, and is the same for a shard and its quarantine."""
        name = Path(self.shard.file).name
        return len(name), name


@dataclass(frozen=True)
class FileCheck:
    """The result of checking one file.

    Attributes:
        faults: of the file.
        numbers: of the rows; None if they could not be read.
        digests: of the ids, uint64 ``[M, 2]``; rows without an id have none.
        positions: the rows of those ids, int64 ``[M]``.
        tally: sums of the rows' `Claims`; None if not all rows could be checked.
    """

    faults: Faults
    numbers: NDArray[np.int64] | None
    digests: NDArray[np.uint64]
    positions: NDArray[np.int64]
    tally: Tally | None = None


def check_file(directory: Path, file: ListedFile, limit: int) -> FileCheck:
    """Checks one file by itself.

    Args:
        limit: faults of each kind that are kept in full.
    """
    faults = Faults(limit)

    def rows(opened: pq.ParquetFile) -> FileCheck:
        names = _usable_columns(opened.schema_arrow, file, faults)
        reader = _RowReader(file, faults)
        for batch in opened.iter_batches(_batch_rows(opened, names), columns=names):
            reader.add(batch)
        return reader.result()

    nothing = FileCheck(faults, None, np.empty((0, 2), np.uint64), np.empty(0, np.int64))
    return check_recorded(directory, file.shard, faults, rows) or nothing


def check_recorded(
    directory: Path, shard: Shard, faults: Faults, look: Callable[[pq.ParquetFile], Looked]
) -> Looked | None:
    """Holds a Parquet file against its record: its size, its hash and its number of rows.

    Returns:
        What ``look`` makes of the open file; None where it cannot be read.
    """
    path = directory / shard.file
    if not path.is_file():
        faults.add("a missing file", shard.file, "is missing")
        return None
    size = path.stat().st_size
    if size != shard.num_bytes:
        what = f"has {size} bytes where {shard.num_bytes} are recorded"
        faults.add("a file of another size", shard.file, what)
    elif sha256_of_file(path) != shard.sha256:
        faults.add("a file with another hash", shard.file, "has not the recorded SHA-256")
    try:
        with open_parquet(path) as opened:
            if opened.metadata.num_rows != shard.num_rows:
                what = f"has {opened.metadata.num_rows} rows where {shard.num_rows} are recorded"
                faults.add("a file with another number of rows", shard.file, what)
            return look(opened)
    except UserError as error:
        what = str(error)
    except (pa.ArrowException, OSError, ValueError) as error:
        what = f"is damaged ({' '.join(str(error).split())})"
    faults.add("a file that cannot be read", shard.file, what)
    return None


def _usable_columns(schema: pa.Schema, file: ListedFile, faults: Faults) -> list[str]:
    """Checks a file's columns; returns those whose rows can be checked."""
    kind = "a file with other columns"
    for name in schema.names:
        if name not in file.rows.schema.names:
            faults.add(kind, file.shard.file, f"has a column {name!r} too many")
    usable = []
    claimed = () if file.rows.claims is None else file.rows.claims.columns
    for field in file.rows.schema:
        if field.name not in schema.names:
            if field.name in file.rows.optional:
                continue
            faults.add(kind, file.shard.file, f"has no column {field.name!r}")
        elif schema.field(field.name).type != field.type:
            what = f"column {field.name} is {schema.field(field.name).type}, not {field.type}"
            faults.add(kind, file.shard.file, what)
        elif field.name in ("id", "label", "seed", file.rows.number) or field.name in claimed:
            usable.append(field.name)
    return usable


def _batch_rows(opened: pq.ParquetFile, names: list[str]) -> int:
    """How many rows a batch takes: of large columns, as many as fill `_BATCH_BYTES`."""
    schema = opened.schema_arrow
    kinds = [schema.field(name).type for name in names]
    sizes = [kind.shape for kind in kinds if isinstance(kind, pa.FixedShapeTensorType)]
    row_bytes = sum(math.prod(shape) for shape in sizes)
    if any(pa.types.is_list(kind) for kind in kinds):  # ragged: what the file says of itself
        whole = opened.metadata
        groups = [whole.row_group(group) for group in range(whole.num_row_groups)]
        row_bytes += sum(group.total_byte_size for group in groups) // max(1, whole.num_rows)
    return int(max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, row_bytes))))


class _RowReader:
    """Checks a file's rows, batch by batch, and gathers their ids and numbers."""

    def __init__(self, file: ListedFile, faults: Faults) -> None:
        self._file, self._rows, self._faults = file.shard.file, file.rows, faults
        self._start = 0
        self._numbers: list[NDArray[np.int64]] = []
        self._numbered = True
        self._digests = [np.empty((0, 2), np.uint64)]
        self._positions = [np.empty(0, np.int64)]
        self._tally: Tally | None = None if file.rows.claims is None else {}

    def add(self, batch: pa.RecordBatch) -> None:
        columns = {name: batch.column(name) for name in batch.schema.names}
        for name, values in columns.items():
            self._note(values.is_null(), "a missing value", f"has no {name}")
        if "label" in columns and self._rows.labels is not None:
            self._check_labels(columns["label"], *self._rows.labels)
        seed, number = self._rows.seed, self._rows.number
        if seed is not None and "seed" in columns:
            self._note(pc.not_equal(columns["seed"], seed), "another seed", f"seed is not {seed}")
        if number in columns and not columns[number].null_count:
            numbers = columns[number].to_numpy()
            self._numbers.append(numbers)
            if seed is not None and "id" in columns:
                ids = pa.array([f"{seed}-{index}" for index in numbers], pa.string())
                self._note(
                    pc.not_equal(columns["id"], ids), "another id", "id is not seed-sample_index"
                )
        else:
            self._numbered = False
        if "id" in columns:
            there = np.flatnonzero(columns["id"].is_valid().to_numpy(zero_copy_only=False))
            self._digests.append(digests_of(columns["id"].drop_null()))
            self._positions.append(there + self._start)
        self._check_claims(batch)
        self._start += batch.num_rows

    def result(self) -> FileCheck:
        numbers = None
        if self._numbered:
            numbers = np.concatenate([np.empty(0, np.int64), *self._numbers])
        return FileCheck(
            self._faults,
            numbers,
            np.concatenate(self._digests),
            np.concatenate(self._positions),
            self._tally,
        )

    def _check_claims(self, batch: pa.RecordBatch) -> None:
        """Checks the rows' claims, unless a value or a column is missing."""
        claims = self._rows.claims
        if claims is None or self._tally is None:
            return
        names = batch.schema.names
        if any(name not in names or batch.column(name).null_count for name in claims.columns):
            self._tally = None
            return
        wrong, tally = claims.of_rows(pa.Table.from_batches([batch]))
        for kind, mask in wrong.items():
            for row in np.flatnonzero(mask).tolist():
                self._faults.add(kind, self._file, kind, self._start + row)
        add_tally(self._tally, tally)

    def _check_labels(self, labels: pa.Array, low: int, stop: int) -> None:
        for row in _true(pc.or_(pc.less(labels, low), pc.greater_equal(labels, stop))):
            what = f"label {labels[row]} lies outside {low} to {stop - 1}"
            self._faults.add("a label outside the classes", self._file, what, self._start + row)

    def _note(self, wrong: pa.BooleanArray, kind: str, what: str) -> None:
        for row in _true(wrong):
            self._faults.add(kind, self._file, what, self._start + row)


def _true(mask: pa.BooleanArray) -> list[int]:
    """Where a mask is true; null is not."""
    return np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False)).tolist()
