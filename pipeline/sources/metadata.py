"""Pictures with a metadata file beside them, in the layout of Hugging Face's imagefolder.

DIR/metadata.jsonl or metadata.csv, or one in each sub-folder (DIR/train/metadata.csv), has a row
for each picture: its path from there as `file_name`, and a label and/or a caption in further
columns.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UserError
from pipeline.formats.quarantine import BadRow
from pipeline.sources.base import KEYS_AT_ONCE, RawRow, Source, in_order_of_names
from pipeline.sources.classes import (
    alike_note,
    check_classes,
    check_number,
    class_name,
    cleaned_note,
)
from pipeline.sources.listing import bytes_of, files_below
from pipeline.sources.metadata_file import (
    FILE_NAME,
    NAMES,
    MetadataFile,
    chosen_column,
    find_metadata,
)
from pipeline.sources.splits import (
    REMEDY,
    UNLABELED,
    SplitsFrom,
    says_split_alone,
    split_in,
    usable_splits,
)

_LABEL = "label"
_CAPTIONS = ("caption", "text")
_SPLIT = "split"
_WHOLE = re.compile(r"(-?[0-9]+)(?:\.0*)?")  # pandas writes 1.0 where another row has no label


class MetadataSource(Source):
    """The pictures that metadata files name, in their order, then all others as bad rows.

    A row's id is the path from the root, whose first folder may say its split. A row without a
    picture or without a label is bad.

    Args:
        label_column: names of classes or whole numbers; by default `label` if there is one, else
            the sub-folders' names where all pictures lie in several such.
        caption_column: by default `caption` or `text` if there is one.
        classes: in the order of their labels; by default the labels' texts, sorted, by value where
            all are whole numbers.
        split_column: by default `split` if there is one.
        splits_from: "names": that column says nothing; "column": folders say nothing; "draw":
            neither.

    Raises:
        UserError: a picture is named twice, or a file cannot be taken apart.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        label_column: str | None = None,
        caption_column: str | None = None,
        classes: Sequence[str] | None = None,
        split_column: str | None = None,
        splits_from: SplitsFrom = "auto",
    ) -> None:
        self._root = Path(path).absolute()
        files = find_metadata(self._root)
        if not files:
            raise UserError(
                f"{self._root} has no {' or '.join(NAMES)} with a column {FILE_NAME}; "
                "check the path"
            )
        label = chosen_column(files, label_column, (_LABEL,), "--label-column")
        caption = chosen_column(files, caption_column, _CAPTIONS, "--caption-column")
        if label is None and caption is None:
            raise UserError(
                f"{files[0].path} has no column {_LABEL} and none {' or '.join(_CAPTIONS)}, only "
                f"{', '.join(files[0].columns)}; name one with --label-column or --caption-column"
            )
        split = None
        if splits_from in ("auto", "column"):
            wanted = _SPLIT if splits_from == "column" and split_column is None else split_column
            split = chosen_column(files, wanted, (_SPLIT,), "--split-column")
        self.has_captions = caption is not None
        names, labels, captions, split_cells, faults = _read(
            self._root, files, label, caption, split
        )
        self._faults = faults
        by_folder = _splits_of_folders(names) if splits_from in ("auto", "names") else []
        by_column = [] if split is None else _splits_of_cells(names, split_cells, faults, by_folder)
        self._splits = by_column or by_folder
        for row, name in enumerate(self._splits):
            if name == UNLABELED and row not in faults:
                faults[row] = "no label, as its split says; remove its line"
        self.splits = usable_splits(name for name in self._splits if name)
        if self._splits:
            self.splits_origin = "folders" if split is None else f"column {split}"
        self._names = pa.array(names, pa.large_string())
        self._captions = pa.array(captions, pa.large_string())
        self.num_rows = len(names)
        self.classes = ()
        self._labels = np.full(len(names), -1, np.int32)
        if label is None:
            labels = [_class_of(name, 1 if by_folder else 0) for name in names]
        if label is not None or (None not in labels and len(set(labels)) > 1):
            raw = sorted({text for text in labels if text is not None})
            check_number(len(raw), f"the labels of {files[0].path}")
            labels = [None if text is None else class_name(text) or None for text in labels]
            labels = _whole_numbers(labels)
            texts = {text for text in labels if text is not None}
            if all(map(_WHOLE.fullmatch, texts)) and not texts & set(classes or ()):
                texts = {text for text in texts if not text.startswith("-")}  # are no labels
            self.classes = in_order_of_names(texts)
            self.notes = tuple(cleaned_note(raw, f"the labels of {files[0].path}"))
            if classes is not None:
                self.classes, self.notes = check_classes(classes, "--classes")
            self.notes += alike_note(self.classes)
            numbered = all(text.isdecimal() for text in texts) and not texts & set(self.classes)
            accepted_texts = list(map(str, range(len(self.classes)))) if numbered else self.classes
            label_of = {text: number for number, text in enumerate(accepted_texts)}
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

    def keys(self) -> Iterator[tuple[list[str], NDArray[np.int64]]]:
        for start in range(0, self.num_rows, KEYS_AT_ONCE):
            stop = min(start + KEYS_AT_ONCE, self.num_rows)
            rows = [row for row in range(start, stop) if row not in self._faults]
            yield (
                self._names.take(pa.array(rows, pa.int64())).to_pylist(),
                self._labels[rows].astype(np.int64),
            )

    def read(self, start: int, stop: int) -> list[RawRow | BadRow]:
        return [self._row(row) for row in range(start, stop)]

    def first_bad_label(self) -> int | None:
        return min(self._faults, default=None)

    def _row(self, row: int) -> RawRow | BadRow:
        name = self._names[row].as_py()
        file = self._root / name
        if row in self._faults:
            return BadRow(name, row, str(file), f"{file} has {self._faults[row]}")
        data = bytes_of(self._root, name)
        if isinstance(data, str):
            return BadRow(name, row, str(file), f"{data} and its line")
        caption = (self._captions[row].as_py() or "") if self.has_captions else None
        split = self._splits[row] if self.splits else None
        return RawRow(name, data, int(self._labels[row]), caption, split, str(file))


def _read(
    root: Path,
    files: Sequence[MetadataFile],
    label: str | None,
    caption: str | None,
    split: str | None,
) -> tuple[list[str], list[str | None], list[str | None], list[str | None], dict[int, str]]:
    """Ids, labels, captions and splits of all rows as text, and which rows are bad, and why."""
    names: list[str] = []
    labels: list[str | None] = []
    captions: list[str | None] = []
    splits: list[str | None] = []
    faults: dict[int, str] = {}
    seen: set[str] = set()
    for file in files:
        for line, cells in file.rows():
            file_name = cells.get(FILE_NAME)
            if not isinstance(file_name, str) or not file_name:
                raise UserError(f"line {line} of {file.path} has no {FILE_NAME}; add it")
            if "\\" in file_name and not (root / file.folder / file_name).exists():
                file_name = file_name.replace("\\", "/")  # written on Windows
            name = os.path.normpath(os.path.join(file.folder, file_name))
            if "\0" in name or any("\ud800" <= letter <= "\udfff" for letter in name):
                raise UserError(
                    f"line {line} of {file.path} names {file_name!r}, which is no file name"
                )
            if os.path.isabs(name) or name.split(os.sep)[0] == "..":
                raise UserError(
                    f"line {line} of {file.path} names {file_name}, which lies outside {root}; "
                    "move it inside"
                )
            if name in seen:
                raise UserError(
                    f"line {line} of {file.path} names {file_name} again; remove the line"
                )
            seen.add(name)
            names.append(name)
            labels.append(None if label is None else _text(cells.get(label)))
            captions.append(None if caption is None else _text(cells.get(caption)))
            splits.append(None if split is None else _text(cells.get(split)))
    for file in files:
        for name in files_below(root, file.folder):
            if name not in seen and Path(name).suffix.lower() in Image.registered_extensions():
                seen.add(name)
                faults[len(names)] = f"no line in {file.path}; add one, or remove the picture"
                names.append(name)
                labels.append(None)
                captions.append(None)
                splits.append(None)
    return names, labels, captions, splits, faults


def _whole_numbers(labels: Sequence[str | None]) -> list[str | None]:
    """The labels, of which those like 1.0 become 1 where all are whole numbers."""
    matches = {text: _WHOLE.fullmatch(text) for text in set(labels) if text is not None}
    if not all(matches.values()):
        return list(labels)
    number = {text: match[1] for text, match in matches.items() if match}
    return [None if text is None else number[text] for text in labels]


def _class_of(name: str, depth: int) -> str | None:
    inside = name.split(os.sep)[depth:-1]
    return inside[0] if inside else None


def _splits_of_folders(names: Sequence[str]) -> list[str | None]:
    """The split in the first folder of each path; [] if no path has one.

    A folder such as `test-tube` counts as a split only if all other folders are splits too.

    Raises:
        UserError: some paths have a split and some do not.
    """
    first = [name.split(os.sep)[0] if os.sep in name else "" for name in names]
    splits = [split_in(folder) for folder in first]
    if None in splits:
        splits = [
            split if says_split_alone(folder) else None
            for folder, split in zip(first, splits, strict=True)
        ]
    row_with_split = next((row for row, split in enumerate(splits) if split), None)
    if row_with_split is None:
        return []
    if None in splits:
        raise UserError(
            f"{names[row_with_split]} lies in the split {splits[row_with_split]}, and "
            f"{names[splits.index(None)]} in none; move it into one, or {REMEDY}"
        )
    return splits


def _splits_of_cells(
    names: Sequence[str],
    cells: Sequence[str | None],
    faults: Mapping[int, str],
    by_folder: Sequence[str | None],
) -> list[str | None]:
    """The split of each row in the column; None for bad rows.

    Raises:
        UserError: a text is no split, or not the folder's.
    """
    splits = [split_in(cell) if cell else None for cell in cells]
    for row, (name, split) in enumerate(zip(names, splits, strict=True)):
        if split is None and row not in faults:
            raise UserError(f"{name} has {cells[row]!r} for its split, which is none; {REMEDY}")
        if split is not None and by_folder and by_folder[row] != split:
            raise UserError(
                f"{name} has {cells[row]!r} for its split and lies in {by_folder[row]}; say which "
                "counts: --splits-from column or --splits-from names"
            )
    return splits


def _text(value: Any) -> str | None:
    """A label or a caption as text; None for none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool):
        return str(value).lower()
    # (NaN is what pandas writes for what is missing.)
    missing = value is None or value == "" or value != value
    return None if missing or isinstance(value, dict | list) else str(value)
