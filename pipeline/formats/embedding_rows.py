"""The rows of an embedding set: float16 arrays to Parquet, and back to the very bits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.formats.shard import Shard, write_shard


def schema(width: int, *, has_tokens: bool) -> pa.Schema:
    """The columns of a shard, for vectors of ``width`` dimensions."""
    vector = pa.list_(pa.float16(), width)
    columns = [("id", pa.string()), ("tokens", pa.list_(vector)), ("pooled", vector)]
    return pa.schema([column for column in columns if has_tokens or column[0] != "tokens"])


def embedding_table(
    ids: Sequence[str],
    pooled: np.ndarray,
    tokens: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
) -> pa.Table:
    """Rows of an embedding set.

    Args:
        ids: N strings.
        pooled: float16 ``[N, D]``.
        tokens, lengths: float16 ``[N, L, D]``, and how many of a row's L are the text's, int64
            ``[N]``; the others are left out. None in a set of pictures.
    """
    width = pooled.shape[1]
    arrays = [pa.array(ids, pa.string()), _vectors(pooled)]
    if tokens is not None:
        assert lengths is not None
        present = np.arange(tokens.shape[1]) < lengths[:, None]
        ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        arrays.insert(1, pa.ListArray.from_arrays(ends, _vectors(tokens[present])))
    return pa.table(arrays, schema=schema(width, has_tokens=tokens is not None))


def write_embeddings(table: pa.Table, directory: Path | str, file: str) -> Shard:
    """Writes a shard of an embedding set atomically; the same rows always give the same bytes."""
    # Of float16 that hardly ever repeat, a dictionary doubled the time to read.
    return write_shard(table, directory, file, dictionary=False)


def values_of(table: pa.Table, width: int, max_length: int | None) -> tuple[list[str], np.ndarray]:
    """What a table's rows hold.

    Args:
        table: with the columns of `schema`.
        width: dimensions of a vector, D.
        max_length: the most tokens of a text, L; None without tokens.

    Returns:
        N ids, and float16 ``[N, D]``; with tokens ``[N, 1 + L, D]``, the pooled vector and then
        the token states, with zeros after a text's end.

    Raises:
        ValueError: the columns are others, a value is missing, or a text is longer.
    """
    due = schema(width, has_tokens=max_length is not None)
    if table.schema.remove_metadata() != due:
        raise ValueError(f"its columns are not {', '.join(due.names)} of {width} dimensions")
    for name in due.names:
        if table.column(name).null_count:
            raise ValueError(f"a row has no {name}")
    table = table.combine_chunks()
    ids: list[str] = table.column("id").to_pylist()
    pooled = pooled_of(table, width)
    if max_length is None:
        return ids, pooled
    lengths = lengths_of(table)
    if lengths.max(initial=0) > max_length:
        raise ValueError(f"a text has {lengths.max()} tokens, more than {max_length}")
    joined = np.zeros((len(ids), 1 + max_length, width), np.float16)
    joined[:, 0] = pooled
    joined[:, 1:][np.arange(max_length) < lengths[:, None]] = tokens_of(table, width)
    return ids, joined


def pooled_of(table: pa.Table, width: int) -> np.ndarray:
    """The pooled vectors of N rows in one chunk, float16 ``[N, D]``."""
    return _numbers(_whole(table, "pooled"), width)


def lengths_of(table: pa.Table) -> np.ndarray:
    """The numbers of tokens of N rows in one chunk, int ``[N]``."""
    lengths: np.ndarray = np.diff(_whole(table, "tokens").offsets.to_numpy())
    return lengths


def tokens_of(table: pa.Table, width: int) -> np.ndarray:
    """The token states of all rows, which are in one chunk, after one another: float16 [T, D]."""
    return _numbers(_whole(table, "tokens").flatten(), width)


def _vectors(values: np.ndarray) -> pa.FixedSizeListArray:
    """Float16 ``[N, D]`` as an Arrow array of N lists."""
    flat = pa.array(np.ascontiguousarray(values, np.float16).reshape(-1), pa.float16())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _numbers(vectors: pa.FixedSizeListArray, width: int) -> np.ndarray:
    """The float16 ``[N, D]`` of an Arrow array of N lists."""
    flat: np.ndarray = vectors.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, width)


def _whole(table: pa.Table, name: str) -> Any:
    """A column as one array."""
    column = table.column(name)
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)
