"""Pictures with a metadata file beside them, as Hugging Face's imagefolder has it.

DIR/metadata.jsonl or metadata.csv, or one in each sub-folder (DIR/train/metadata.csv): a row a
picture, with its path from there as `file_name`, and a label and/or a caption in further columns.
"""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.errors import UserError
from pipeline.formats.quarantine import BadRow
from pipeline.sources.base import RawRow, Source, given_splits, in_order_of_names
from pipeline.sources.folder import SPLIT_NAMES
from pipeline.sources.listing import entries, files_below, user_files

NAMES = ("metadata.jsonl", "metadata.csv")
_FILE_NAME = "file_name"
_LABEL = "label"
_CAPTIONS = ("caption", "text")
_MORE_THAN_A_FIELD = 1 << 27  # characters; Python's own limit of 131,072 is a long caption's


@dataclass(frozen=True)
class MetadataFile:
    """A metadata file: its path, the folder that it is for, relative to the root, its columns."""

    path: Path
    folder: str
    columns: tuple[str, ...]

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each row with the number of its line; UserError at one that cannot be taken apart."""
        with user_files():
            try:
                yield from _rows(self.path)
            except UnicodeDecodeError:
                raise UserError(f"{self.path} is not UTF-8; store it as such") from None


def find_metadata(root: Path) -> tuple[MetadataFile, ...]:
    """The metadata files of a folder and of those in it; none where there is no such file, or where
    one lacks `file_name` and so is something else."""
    if not root.is_dir():
        return ()
    found = []
    for folder in ("", *(entry.name for entry in entries(root) if entry.is_dir())):
        here = [root / folder / name for name in NAMES if (root / folder / name).is_file()]
        if len(here) > 1:
            raise UserError(f"{here[0]} and {here[1]} speak of the same pictures; remove one")
        for path in here:
            columns = _columns(path)
            if _FILE_NAME in columns:
                found.append(MetadataFile(path, folder, columns))
    return tuple(found)


class MetadataSource(Source):
    """The pictures that metadata files name, in their order; then those that none names, as bad
    rows.

    label_column: names of classes or whole numbers; by default `label` if there is one, else the
    sub-folders' names where all pictures lie in several such.
    caption_column: by default `caption` or `text` if there is one.
    classes: in the order of their labels; by default the labels' texts, sorted, by value where all
    are whole numbers.

    The id is the path from the root; its first folder may be a split's. A row is bad whose picture
    is not there, or that has no label. Raises UserError when a picture is named twice, or a file
    cannot be taken apart.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        label_column: str | None = None,
        caption_column: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self._root = Path(path).absolute()
        files = find_metadata(self._root)
        if not files:
            raise UserError(
                f"{self._root} has no {' or '.join(NAMES)} with a column {_FILE_NAME}; "
                "check the path"
            )
        label = _chosen(files, label_column, (_LABEL,), "--label-column")
        caption = _chosen(files, caption_column, _CAPTIONS, "--caption-column")
        if label is None and caption is None:
            raise UserError(
                f"{files[0].path} has no column {_LABEL} and none {' or '.join(_CAPTIONS)}, only "
                f"{', '.join(files[0].columns)}; name one with --label-column or --caption-column"
            )
        self.has_captions = caption is not None
        names, labels, captions, faults = _read(self._root, files, label, caption)
        self._faults = faults
        self._splits = [_split_of(name) for name in names]
        self.splits = _given_splits(names, self._splits)
        self._names = pa.array(names, pa.large_string())
        self._captions = pa.array(captions, pa.large_string())
        self.num_rows = len(names)
        self.classes = ()
        self._labels = np.full(len(names), -1, np.int32)
        if label is None:
            labels = [_class_of(name) for name in names]
        if label is not None or (None not in labels and len(set(labels)) > 1):
            texts = {text for text in labels if text is not None}
            self.classes = tuple(classes or in_order_of_names(texts))
            numbered = all(text.isdecimal() for text in texts) and not texts & set(self.classes)
            known = list(map(str, range(len(self.classes)))) if numbered else self.classes
            label_of = {text: number for number, text in enumerate(known)}
            self._labels[:] = [label_of.get(text or "", -1) for text in labels]
            for row, text in enumerate(labels):
                if row not in faults and self._labels[row] < 0:
                    faults[row] = (
                        "no label; give it one, or remove its line"
                        if text is None
                        else f"the label {text}, which is none of the {len(self.classes)} classes; "
                        "correct it or --classes"
                    )
        if not self.num_rows:
            raise UserError(f"{files[0].path} names no pictures; check it")

    def read(self, start: int, stop: int) -> list[RawRow | BadRow]:
        return [self._row(row) for row in range(start, stop)]

    def first_bad_label(self) -> int | None:
        return min(self._faults, default=None)

    def _row(self, row: int) -> RawRow | BadRow:
        name = self._names[row].as_py()
        file = self._root / name
        if row in self._faults:
            return BadRow(name, row, str(file), f"{file} has {self._faults[row]}")
        try:
            data = file.read_bytes()
        except OSError as error:
            if not self._root.is_dir():  # no row's fault: the disk is gone
                raise UserError(f"there is no folder {self._root} any more") from None
            reason = f"{file} cannot be read ({error.strerror}); check it and its line"
            return BadRow(name, row, str(file), reason)
        caption = (self._captions[row].as_py() or "") if self.has_captions else None
        split = self._splits[row] if self.splits else None
        return RawRow(name, data, int(self._labels[row]), caption, split, str(file))


def _read(
    root: Path, files: Sequence[MetadataFile], label: str | None, caption: str | None
) -> tuple[list[str], list[str | None], list[str | None], dict[int, str]]:
    """Ids, labels and captions of all rows as text, and what makes a row bad ere it is read."""
    names: list[str] = []
    labels: list[str | None] = []
    captions: list[str | None] = []
    faults: dict[int, str] = {}
    seen: set[str] = set()
    for file in files:
        for line, cells in file.rows():
            said = cells.get(_FILE_NAME)
            if not isinstance(said, str) or not said:
                raise UserError(f"line {line} of {file.path} has no {_FILE_NAME}; add it")
            name = os.path.normpath(os.path.join(file.folder, said))
            if os.path.isabs(name) or name.startswith(".."):
                raise UserError(
                    f"line {line} of {file.path} names {said}, which lies outside {root}; move it "
                    "inside"
                )
            if name in seen:
                raise UserError(f"line {line} of {file.path} names {said} again; remove the line")
            seen.add(name)
            names.append(name)
            labels.append(None if label is None else _text(cells.get(label)))
            captions.append(None if caption is None else _text(cells.get(caption)))
    for file in files:
        for name in files_below(root, file.folder):
            if name not in seen and Path(name).suffix.lower() in Image.registered_extensions():
                seen.add(name)
                faults[len(names)] = f"no line in {file.path}; add one, or remove the picture"
                names.append(name)
                labels.append(None)
                captions.append(None)
    return names, labels, captions, faults


def _split_of(name: str) -> str | None:
    folder = name.split(os.sep)[0]
    return folder if folder in SPLIT_NAMES else None


def _class_of(name: str) -> str | None:
    folders = name.split(os.sep)[:-1]
    inside = folders[1:] if _split_of(name) else folders
    return inside[0] if inside else None


def _given_splits(names: Sequence[str], splits: Sequence[str | None]) -> tuple[str, ...]:
    said = [split for split in splits if split is not None]
    if said and len(said) < len(splits):
        raise UserError(
            f"{names[splits.index(said[0])]} lies in the split {said[0]}, and "
            f"{names[splits.index(None)]} in none; move it into one, or rename the folder"
        )
    return given_splits(said)


def _chosen(
    files: Sequence[MetadataFile], name: str | None, defaults: Sequence[str], flag: str
) -> str | None:
    for column in defaults if name is None else (name,):
        lacking = [file for file in files if column not in file.columns]
        if not lacking:
            return column
        if name is not None or len(lacking) < len(files):
            raise UserError(
                f"{lacking[0].path} has no column {column!r}, only "
                f"{', '.join(lacking[0].columns)}; name one with {flag}"
            )
    return None


def _columns(path: Path) -> tuple[str, ...]:
    """The columns of a CSV; of JSON lines those of the first row."""
    with user_files():
        try:
            if path.suffix == ".csv":
                with open(path, encoding="utf-8-sig", newline="") as stream:
                    return tuple(next(csv.reader(stream), ()))
            return tuple(next(_rows(path), (0, {}))[1])
        except UnicodeDecodeError:
            raise UserError(f"{path} is not UTF-8; store it as such") from None


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig", newline="") as stream:
        if path.suffix == ".csv":
            csv.field_size_limit(_MORE_THAN_A_FIELD)
            reader = csv.DictReader(stream)
            try:
                for cells in reader:
                    if None in cells:
                        raise csv.Error("more fields than columns")
                    yield reader.line_num, cells
            except csv.Error as error:
                raise UserError(f"line {reader.line_num} of {path}: {error}; correct it") from None
            return
        for line, text in enumerate(stream, 1):
            if not text.strip():
                continue
            try:
                cells = json.loads(text)
            except ValueError as error:
                raise UserError(
                    f"line {line} of {path} is not JSON ({error}); correct it"
                ) from None
            if not isinstance(cells, dict):
                raise UserError(f"line {line} of {path} is no JSON object; correct it")
            yield line, cells


def _text(value: Any) -> str | None:
    """A label or a caption as text; None for none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None or value == "" or isinstance(value, dict | list) else str(value)
