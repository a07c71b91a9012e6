"""Chooses and checks the columns of Parquet files: picture, label, caption, id and split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.hugging_face import class_label_names
from pipeline.formats.shard import check_named_once
from pipeline.sources.cells import hive_keys
from pipeline.sources.parquet_files import InputFiles
from pipeline.sources.splits import SplitsFrom, split_in

SPLIT_COLUMN = "split"
_LABEL_COLUMN = "label"
_CAPTION_COLUMNS = ("caption", "text")


@dataclass(frozen=True)
class Columns:
    """The columns that are read.

    Attributes:
        image: of encoded pictures.
        label, caption, id, split: None where there is none.
        split_names: the splits that whole numbers in the split column stand for; () for text.
    """

    image: str
    label: str | None
    caption: str | None
    id: str | None
    split: str | None
    split_names: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """All of them, each once."""
        names = (self.image, self.label, self.caption, self.id, self.split)
        return list(dict.fromkeys(name for name in names if name is not None))

    def split_of(self, value: Any) -> str | None:
        """The split in a cell of the split column; None if it is no split."""
        if isinstance(value, int) and 0 <= value < len(self.split_names):
            value = self.split_names[value]
        return split_in(value) if isinstance(value, str) else None


def choose_columns(
    files: InputFiles,
    *,
    image: str,
    label: str | None,
    caption: str | None,
    id: str | None,
    split: str | None,
    splits_from: SplitsFrom,
) -> Columns:
    """The columns of the given names, and of the usual names where none is given.

    Raises:
        UserError: a column is missing, of a type that cannot be used, or not the same in all files.
    """
    schema, path = files.first.schema(), files.first.path
    image = _column(schema, image, "image-column", path)
    if f"{image}.bytes" in schema.names:
        image += ".bytes"
    label = _optional(schema, label, (_LABEL_COLUMN,), "label-column", path)
    captions = [
        name
        for name in _CAPTION_COLUMNS
        if name in schema.names
        # With labels nobody needs a column that happens to be called so.
        and (label is None or is_text(schema.types[schema.names.index(name)]))
    ]
    caption = _optional(schema, caption, captions, "caption-column", path)
    id = _optional(schema, id, (), "id-column", path)
    if label is None and caption is None:
        raise UserError(
            f"{path} has no column {_LABEL_COLUMN} and none "
            f"{' or '.join(_CAPTION_COLUMNS)}, only {', '.join(schema.names)}; "
            "name one with --label-column or --caption-column"
        )
    taken = (label, caption, id, *hive_keys(files.first.name))
    said, names = _split_column(schema, split, splits_from, taken, path)
    columns = Columns(image, label, caption, id, said, names)
    _check_types(files, schema, columns)
    return columns


def _split_column(
    schema: pa.Schema,
    name: str | None,
    splits_from: SplitsFrom,
    taken: Sequence[str | None],
    path: Path,
) -> tuple[str | None, tuple[str, ...]]:
    """The split column, and the splits that its numbers stand for; None without one.

    Args:
        taken: columns that are used for something else.
    """
    if splits_from in ("names", "draw"):
        return None, ()
    there = SPLIT_COLUMN in schema.names and SPLIT_COLUMN not in taken
    if name is None and splits_from == "auto" and not there:
        return None, ()
    column = _column(schema, name or SPLIT_COLUMN, "split-column", path)
    names = class_label_names(schema, column)
    kind = schema.field(column).type
    if not is_text(kind) and not (pa.types.is_integer(kind) and names):
        raise UserError(
            f"column {column} of {path} is {kind}, not text that says splits; name another "
            "with --split-column, or say where splits come from with --splits-from"
        )
    return column, names


def _check_types(files: InputFiles, schema: pa.Schema, columns: Columns) -> None:
    kind = schema.field(columns.image).type
    if not pa.types.is_large_binary(kind):
        raise UserError(
            f"column {columns.image} of {files.first.path} is {kind}, not encoded pictures "
            "(binary, or a struct with a field bytes); name another with --image-column"
        )
    wanted = {
        columns.label: (
            "whole numbers or text",
            (pa.types.is_integer, pa.types.is_floating, is_text),
        ),
        columns.caption: ("text", (is_text,)),
        columns.id: ("whole numbers or text", (pa.types.is_integer, is_text)),
    }
    for name, (words, kinds) in wanted.items():
        if name is not None and not any(fits(schema.field(name).type) for fits in kinds):
            raise UserError(
                f"column {name} of {files.first.path} is {schema.field(name).type}, not "
                f"{words}; name another column"
            )
    for file in files.files[1:]:
        other = file.schema()
        for name in columns.names:
            check_named_once(other, name, file.path)
            if name not in other.names or other.field(name).type != schema.field(name).type:
                kind_there = other.field(name).type if name in other.names else "absent"
                raise UserError(
                    f"column {name} is {schema.field(name).type} in {files.first.path} and "
                    f"{kind_there} in {file.path}; ingest them one by one, or convert one"
                )


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
    path: Path,
) -> str | None:
    if name is not None:
        return _column(schema, name, flag, path)
    default_column = next((default for default in defaults if default in schema.names), None)
    if default_column is not None:
        check_named_once(schema, default_column, path)
    return default_column


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type is text."""
    return bool(pa.types.is_string(kind))
