"""Parquet files with encoded pictures, and labels and/or captions; Hugging Face's layout too."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.shard import open_parquet, read_part
from pipeline.sources.base import RawRow, Source, given_splits, in_order_of_names

_SPLIT = re.compile(r"(train|test|validation|valid|val)(?:[-_.].*)?")
_LABEL_COLUMN = "label"
_CAPTION_COLUMNS = ("caption", "text")


@dataclass(frozen=True)
class _File:
    path: Path
    name: str  # relative to the folder, without the ending: the head of its rows' ids
    split: str | None
    num_rows: int


class ParquetSource(Source):
    """One Parquet file, or all those in a folder and below it, in the order of their names.

    image_column: encoded pictures as binary, or as Hugging Face's struct with a field `bytes`.
    label_column: whole numbers, or names of classes; by default `label` if there is one.
    caption_column: text; by default `caption` or `text` if there is one. Null becomes "".
    id_column: unique text or whole numbers; by default the file's name and the row.
    classes: in the order of the labels; by default the names that Hugging Face's header gives, or
    the names in the column, sorted, or "0", "1" ... up to the largest label.

    Files (or folders) named train..., test..., validation... give the splits. Only the columns
    named, and the row groups asked for, are read.

    Raises UserError when files or columns are missing or of another type, when a label is missing
    or outside the classes, or when an id comes twice.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        image_column: str = "image",
        label_column: str | None = None,
        caption_column: str | None = None,
        id_column: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self._files = _find(Path(path).absolute())
        schema = _schema_of(self._files[0].path)
        self._image = _column(schema, image_column, "image-column", self._files[0].path)
        self._label = _optional(schema, label_column, (_LABEL_COLUMN,), "label-column", self._files)
        self._caption = _optional(
            schema, caption_column, _CAPTION_COLUMNS, "caption-column", self._files
        )
        self._id = _optional(schema, id_column, (), "id-column", self._files)
        if self._label is None and self._caption is None:
            raise UserError(
                f"{self._files[0].path} has no column {_LABEL_COLUMN} and none "
                f"{' or '.join(_CAPTION_COLUMNS)}, only {', '.join(schema.names)}; "
                "name one with --label-column or --caption-column"
            )
        self._check_types(schema)
        self.num_rows = sum(file.num_rows for file in self._files)
        if self.num_rows == 0:
            raise UserError(f"the Parquet files in {path} have no rows; check the path")
        splits = [file.split for file in self._files]
        self.splits = given_splits(name for name in splits if name) if all(splits) else ()
        self.has_captions = self._caption is not None
        self.classes = () if self._label is None else self._classes(schema, classes)
        self._label_of = {name: label for label, name in enumerate(self.classes)}
        if self._label is not None:
            self._check_labels()
        if self._id is not None:
            self._check_ids()

    def read(self, start: int, stop: int) -> list[RawRow]:
        columns = self._columns
        rows: list[RawRow] = []
        position = 0
        for file in self._files:
            first, last = max(start - position, 0), min(stop - position, file.num_rows)
            position += file.num_rows
            if first < last:
                table = read_part(file.path, first, last, columns)
                values = [table.column(name).to_pylist() for name in columns]
                for row, cells in enumerate(zip(*values, strict=True), first):
                    rows.append(self._row(file, row, dict(zip(columns, cells, strict=True))))
        return rows

    @property
    def _columns(self) -> list[str]:
        names = (self._image, self._label, self._caption, self._id)
        return list(dict.fromkeys(name for name in names if name is not None))

    def _row(self, file: _File, row: int, cells: dict[str, Any]) -> RawRow:
        origin = f"row {row} of {file.path}"
        image = cells[self._image]
        if isinstance(image, dict):
            image = image["bytes"]
        if image is None:
            raise UserError(
                f"{origin} has no picture in column {self._image}; remove the row, or store the "
                "pictures' bytes in the file"
            )
        digits = len(str(file.num_rows - 1))
        return RawRow(
            id=f"{file.name}-{row:0{digits}d}" if self._id is None else str(cells[self._id]),
            image=image,
            label=-1 if self._label is None else self._as_label(cells[self._label]),
            caption=None if self._caption is None else cells[self._caption] or "",
            split=file.split if self.splits else None,
            origin=origin,
        )

    def _as_label(self, value: str | int | None) -> int:
        """The label of a cell; -1 when it has none among the classes."""
        if isinstance(value, str):
            return self._label_of.get(value, -1)
        return value if value is not None and 0 <= value < len(self.classes) else -1

    def _check_types(self, schema: pa.Schema) -> None:
        kind = schema.field(self._image).type
        encoded = kind
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            encoded = kind.field("bytes").type
        if not (pa.types.is_binary(encoded) or pa.types.is_large_binary(encoded)):
            raise UserError(
                f"column {self._image} of {self._files[0].path} is {kind}, not encoded pictures "
                "(binary, or a struct with a field bytes); name another with --image-column"
            )
        wanted = {
            self._label: ("whole numbers or text", (pa.types.is_integer, _is_text)),
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
            other = _schema_of(file.path)
            for name in self._columns:
                if name not in other.names or other.field(name).type != schema.field(name).type:
                    found = other.field(name).type if name in other.names else "absent"
                    raise UserError(
                        f"column {name} is {schema.field(name).type} in {self._files[0].path} and "
                        f"{found} in {file.path}; ingest them one by one, or convert one of them"
                    )

    def _classes(self, schema: pa.Schema, classes: Sequence[str] | None) -> tuple[str, ...]:
        assert self._label is not None
        if classes is not None:
            return tuple(classes)
        if _is_text(schema.field(self._label).type):
            names: set[str] = set()
            for _, _, values in self._batches(self._label):
                names.update(name for name in values.unique().to_pylist() if name is not None)
            return in_order_of_names(names)
        named = _hugging_face_names(schema, self._label)
        if named:
            return named
        largest = max(
            (
                max(values.drop_null().to_numpy(), default=0)
                for _, _, values in self._batches(self._label)
            ),
            default=0,
        )
        return tuple(map(str, range(int(largest) + 1)))

    def _check_labels(self) -> None:
        assert self._label is not None
        for file, start, values in self._batches(self._label):
            labels = np.array([self._as_label(value) for value in values.to_pylist()])
            if (labels < 0).any():
                row = int(np.argmax(labels < 0))
                value = values[row].as_py()
                raise UserError(
                    f"row {start + row} of {file.path} has "
                    + (
                        "no label; remove the row, or give it one"
                        if value is None
                        else f"the label {value}, which lies outside the {len(self.classes)} "
                        f"classes ({', '.join(self.classes[:12])}"
                        f"{', ...' if len(self.classes) > 12 else ''}); correct it or --classes"
                    )
                )

    def _check_ids(self) -> None:
        assert self._id is not None
        seen: set[str] = set()
        for file, start, values in self._batches(self._id):
            for row, value in enumerate(values.to_pylist(), start):
                if value is None or str(value) in seen:
                    raise UserError(
                        f"row {row} of {file.path} has "
                        + ("no id" if value is None else f"the id {value}, which came before")
                        + f" in column {self._id}; make the ids unique, or leave out --id-column"
                    )
                seen.add(str(value))

    def _batches(self, column: str) -> Iterator[tuple[_File, int, pa.Array]]:
        """One column of all files, in order, a batch at a time: the file, its first row, values."""
        for file in self._files:
            start = 0
            with open_parquet(file.path) as opened:
                try:
                    for batch in opened.iter_batches(columns=[column]):
                        values = batch.column(0)
                        if isinstance(values, pa.DictionaryArray):
                            values = values.dictionary_decode()
                        yield file, start, values
                        start += len(values)
                except (pa.ArrowInvalid, OSError) as error:
                    raise UserError(
                        f"{file.path} is damaged ({error}); copy or make it anew"
                    ) from None


def _find(path: Path) -> tuple[_File, ...]:
    if path.is_dir():
        found = [
            file
            for file in sorted(path.rglob("*.parquet"))
            if not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
        if not found:
            raise UserError(f"{path} has no Parquet files (*.parquet); check the path")
    elif path.is_file():
        found = [path]
    else:
        raise UserError(f"there is no file or folder {path}; check the path")
    root = path if path.is_dir() else path.parent
    return tuple(_describe(file, root) for file in found)


def _describe(file: Path, root: Path) -> _File:
    inside = file.relative_to(root)
    matches = [_SPLIT.fullmatch(part) for part in (*inside.parts[:-1], inside.stem)]
    split = next((match[1] for match in matches if match), None)
    with open_parquet(file) as opened:
        return _File(file, inside.with_suffix("").as_posix(), split, opened.metadata.num_rows)


def _schema_of(path: Path) -> pa.Schema:
    with open_parquet(path) as file:
        return file.schema_arrow


def _column(schema: pa.Schema, name: str, flag: str, path: Path) -> str:
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
    files: Sequence[_File],
) -> str | None:
    if name is not None:
        return _column(schema, name, flag, files[0].path)
    return next((default for default in defaults if default in schema.names), None)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _hugging_face_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The names of a ClassLabel in the header that Hugging Face's `datasets` writes; else ()."""
    try:
        header = json.loads((schema.metadata or {})[b"huggingface"])
        names = header["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(map(str, names))
