"""The cells of a user's Parquet columns, in few types; nested columns have dotted names.

Other tools write text as views or dictionaries, labels as booleans or as whole doubles (DuckDB's
`sum`), and a value that a whole file shares into its folder's name (Hive's KEY=VALUE).
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_BOOLEAN = {b"was": b"boolean"}
_LARGEST_EXACT = 2.0**53  # from here on a double is no longer one whole number alone


def plain_schema(schema: pa.Schema, keys: dict[str, str | None]) -> pa.Schema:
    """The columns that can be read, and the types that they are read in.

    First the file's own columns, then the fields inside struct columns under dotted names, then the
    keys in the folders' names.
    """
    fields = [_plain_field(field.name, field.type) for field in schema]
    names = set(schema.names)
    for field in schema:
        for name, kind in _inside(field):
            if name not in names:
                fields.append(_plain_field(name, kind))
                names.add(name)
    fields += [pa.field(key, pa.string()) for key in keys if key not in names]
    return pa.schema(fields, schema.metadata)


def is_boolean(field: pa.Field) -> bool:
    """Whether a column of `plain_schema` is one of booleans in the file."""
    return _BOOLEAN.items() <= (field.metadata or {}).items()


def _plain_field(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, plain_type(kind), metadata=_BOOLEAN if kind == pa.bool_() else None)


def _inside(field: pa.Field) -> Iterator[tuple[str, pa.DataType]]:
    if pa.types.is_struct(field.type):
        for inner in field.type:
            named = inner.with_name(f"{field.name}.{inner.name}")
            yield named.name, named.type
            yield from _inside(named)


def plain_cells(
    table: pa.Table, name: str, keys: dict[str, str | None]
) -> pa.ChunkedArray | pa.Array:
    """A column of `plain_schema`, row by row; null where a struct around it is null.

    Raises:
        KeyError: it is not there.
    """
    column = _column(table, name)
    if column is not None:
        kind = plain_type(column.type)
        return pa.chunked_array([plain(chunk) for chunk in column.chunks], kind)
    return pa.repeat(pa.scalar(keys[name], pa.string()), table.num_rows)


def _column(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    if name in table.column_names:
        return table.column(name)
    for top in table.column_names:  # their names, and those of fields, may have dots of their own
        if name.startswith(f"{top}."):
            path = _path(table.schema.field(top).type, name[len(top) + 1 :])
            if path:
                return pc.struct_field(table.column(top), path)
    return None


def _path(kind: pa.DataType, name: str) -> list[int]:
    """The indices that lead to a field inside a struct; empty without one."""
    if pa.types.is_struct(kind):
        for index, field in enumerate(kind):
            if field.name == name:
                return [index]
            if name.startswith(f"{field.name}."):
                rest = _path(field.type, name[len(field.name) + 1 :])
                if rest:
                    return [index, *rest]
    return []


def plain_type(kind: pa.DataType) -> pa.DataType:
    """What `plain` makes of a type: one each for bytes, text, whole and other numbers.

    Booleans become text: they are the names of two classes.
    """
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if _is_any(kind, "binary", "large_binary", "binary_view"):
        return pa.large_binary()
    if _is_any(kind, "string", "large_string", "string_view", "boolean"):
        return pa.string()
    if _is_any(kind, "floating", "decimal"):
        return pa.float64()
    if pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
        return pa.int64()
    return kind


def plain(values: pa.Array) -> pa.Array:
    """The same values in the type that `plain_type` says; null for NaN.

    Views have to be cast: pyarrow 26 makes "" of null in their `unique`.
    """
    if isinstance(values, pa.DictionaryArray):
        return plain(values.dictionary_decode())
    kind = plain_type(values.type)
    # Text that is not UTF-8 must pass: it is a fault of one row, which is noted there.
    values = values if values.type == kind else values.cast(kind, safe=False)
    return pc.if_else(pc.is_nan(values), None, values) if kind == pa.float64() else values


def whole(values: pa.Array) -> pa.Array:
    """Numbers as whole ones, int64; null for those that are none. Other types stay as they are."""
    if values.type != pa.float64():
        return values
    fits = pc.and_(
        pc.equal(pc.floor(values), values), pc.less_equal(pc.abs(values), _LARGEST_EXACT)
    )
    return pc.if_else(fits, values, None).cast(pa.int64())


def hive_keys(file: str) -> dict[str, str | None]:
    """The keys in the names of a file's folders, KEY=VALUE as Hive, Spark and DuckDB write them."""
    keys: dict[str, str | None] = {}
    for part in PurePosixPath(file).parent.parts:
        key, equals, value = part.partition("=")
        if key and equals:
            keys[unquote(key)] = None if value == _HIVE_NULL else unquote(value)
    return keys


def _is_any(kind: pa.DataType, *names: str) -> bool:
    return any(getattr(pa.types, f"is_{name}")(kind) for name in names)
