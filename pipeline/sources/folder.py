"""A folder of pictures, one sub-folder a class; see `pipeline.sources.folder_layout`."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UserError
from pipeline.formats.quarantine import BadRow
from pipeline.formats.splits import TRAIN
from pipeline.sources.base import (
    KEYS_AT_ONCE,
    RawRow,
    Source,
    SourceEntry,
    SourceOptions,
    in_order_of_names,
)
from pipeline.sources.classes import alike_note, check_classes, class_name
from pipeline.sources.folder_layout import Inside, Leaf, find_layout
from pipeline.sources.listing import bytes_of, entries, files_below, user_files
from pipeline.sources.metadata import MetadataSource
from pipeline.sources.metadata_file import find_metadata
from pipeline.sources.splits import REMEDY, SplitsFrom, first_split, split_in, usable_splits


class FolderSource(Source):
    """Pictures that Pillow can read, in a sub-folder for each class, however deep inside it.

    `find_layout` decides which sub-folders are splits. Where none is, pictures' names may contain
    the split (`cat/train_1.png`). Hidden files are ignored; any other file in a class's sub-folder
    must be a picture. Links are followed. A row's id is its relative path.

    Args:
        classes: the classes in the order of their labels; by default the sub-folders' names,
            sorted, by value where all are whole numbers.
        splits_from: "draw" where names say nothing of splits.

    Raises:
        UserError: the folder is missing or empty, a class has no picture, pictures lie outside the
            sub-folders, a sub-folder is none of the classes, or it cannot be decided what is a
            split.
    """

    @user_files()
    def __init__(
        self,
        path: Path | str,
        classes: Sequence[str] | None = None,
        splits_from: SplitsFrom = "auto",
    ) -> None:
        self._root = Path(path).absolute()
        if not self._root.is_dir():
            raise UserError(f"there is no folder {self._root}; check the path")
        layout = find_layout(self._root, self._look, splits_from)
        _refuse_twins(self._root, layout.leaves)
        where = str(self._root) if classes is None else "--classes"
        self.classes, notes = check_classes(classes or _classes(layout.leaves), where)
        self.classes = self.classes if classes else in_order_of_names(self.classes)
        label_of = {name: label for label, name in enumerate(self.classes)}
        # Arrow and numpy, and no list of all: 10 million paths take their letters and 8 bytes each
        # instead of a gigabyte, and pickle as single buffers.
        files: list[pa.Array] = []
        labels: list[int] = []
        splits: list[NDArray[np.int8]] = []
        names: list[str] = []
        by_picture = splits_from != "draw" and not any(leaf.split for leaf in layout.leaves)
        for leaf in layout.leaves:
            folder = self._root / leaf.folder
            name = class_name(leaf.class_name)
            if name not in label_of:
                raise UserError(
                    f"the sub-folder {folder} is none of the classes "
                    f"({', '.join(self.classes)}); remove it or name it among the classes"
                )
            inside = list(files_below(self._root, leaf.folder))
            if not inside:
                raise UserError(
                    f"the sub-folder {folder} is empty; put pictures there or remove it"
                )
            row_splits = _splits_of_pictures(folder, inside) if by_picture else [leaf.split]
            names += [split for split in dict.fromkeys(row_splits) if split and split not in names]
            numbers = [names.index(split) if split else -1 for split in row_splits]
            splits.append(np.resize(numbers, len(inside)).astype(np.int8))
            files.append(_as_text(inside))
            labels.append(label_of[name])
        if not files:
            raise UserError(
                f"{self._root} has no sub-folders with pictures; make one for each class"
            )
        counts = [len(inside) for inside in files]
        self.num_rows = sum(counts)
        self.has_captions = False
        self._files = pa.concat_arrays(files)
        self._labels = np.repeat(np.array(labels, np.int32), counts)
        self._splits = np.concatenate(splits)
        self._split_names = names
        if by_picture and (self._splits < 0).any():  # names of pictures are no names of splits
            names = []
        self.splits = usable_splits(names)
        self.splits_origin = ("file names" if by_picture else "folders") if names else ""
        self.notes = (
            *(f"{self._root / name} has no labels and is left out" for name in layout.left_out),
            *notes,
            *alike_note(self.classes),
            *self._doubtful_note(layout.leaves),
        )

    def _look(self, folder: str) -> Inside:
        """What lies in a folder, given relative to the root, in which no picture may lie."""
        if not folder:
            return Inside(tuple(_folders(self._root)))
        folders, picture = [], None
        for entry in entries(self._root / folder):
            if entry.is_dir():
                folders.append(entry.name)
            elif picture is None and _is_picture(entry.name):
                picture = entry.name
        return Inside(tuple(folders), picture)

    def _doubtful_note(self, leaves: Sequence[Leaf]) -> list[str]:
        """A line where the classes may be other folders than those that were taken for them.

        That is so where all pictures are of one class, or lie in sub-folders that all classes have.
        """
        inside = set(self._look(leaves[0].folder).folders)
        for leaf in leaves:
            there = self._look(leaf.folder) if inside else Inside(())
            inside &= set(there.folders if there.nested else ())
        parts = ", ".join(in_order_of_names(inside)[:4]) + (", ..." if len(inside) > 4 else "")
        remedy = "where these are the classes, make them the folders that --input holds"
        if len(self.classes) == 1:
            also = f", whose sub-folders {parts} say nothing: {remedy}" if len(inside) > 1 else ""
            return [f"all pictures are of one class, {self.classes[0]}{also}"]
        if len(inside) > 1:
            return [f"every class has the sub-folders {parts}, which say nothing: {remedy}"]
        return []

    def keys(self) -> Iterator[tuple[list[str], NDArray[np.int64]]]:
        for start in range(0, self.num_rows, KEYS_AT_ONCE):
            rows = slice(start, start + KEYS_AT_ONCE)
            yield self._files[rows].to_pylist(), self._labels[rows].astype(np.int64)

    def read(self, start: int, stop: int) -> list[RawRow | BadRow]:
        rows: list[RawRow | BadRow] = []
        for row in range(start, stop):
            name = self._files[row].as_py()
            file = self._root / name
            data = bytes_of(self._root, name)
            if isinstance(data, str):
                rows.append(BadRow(name, row, str(file), data))
                continue
            rows.append(
                RawRow(
                    id=name,
                    image=data,
                    label=int(self._labels[row]),
                    caption=None,
                    split=self._split_names[self._splits[row]] if self.splits else None,
                    origin=str(file),
                )
            )
        return rows


def _refuse_twins(root: Path, leaves: Sequence[Leaf]) -> None:
    """Raises UserError where two folders beside one another are one class once names are clean."""
    seen: dict[tuple[str, str], str] = {}
    for leaf in leaves:
        place = os.path.dirname(leaf.folder), class_name(leaf.class_name)
        if seen.setdefault(place, leaf.class_name) != leaf.class_name:
            raise UserError(
                f"in {root / place[0]}, {seen[place]!r} and {leaf.class_name!r} are the same class "
                "but for spaces or the letters' form; put their pictures into one folder"
            )


def _classes(leaves: Sequence[Leaf]) -> tuple[str, ...]:
    """The names of the classes: those that are trained on, where a split is."""
    trained = [leaf.class_name for leaf in leaves if leaf.split == TRAIN]
    names = trained or [leaf.class_name for leaf in leaves]
    return in_order_of_names({class_name(name): name for name in names}.values())


def _splits_of_pictures(folder: Path, files: Sequence[str]) -> list[str | None]:
    """The splits that the names of a class's pictures say; None where the names say none.

    The names say splits where all contain one and they differ (`PublicTest_7.jpg` beside
    `Training_8.jpg`), or where the first word of each is one.

    Raises:
        UserError: some pictures of the class are called `train...`, some `test...`, and others
            neither.
    """
    anywhere = [split_in(os.path.basename(file)) for file in files]
    if None not in anywhere and len(set(anywhere)) > 1:
        return anywhere
    splits = [first_split(os.path.basename(file)) for file in files]
    distinct = set(splits) - {None}
    if len(distinct) > 1 and None in splits:
        raise UserError(
            f"pictures in {folder} are called {' and '.join(sorted(map(str, distinct)))}, and "
            f"{os.path.basename(files[splits.index(None)])} says no split; {REMEDY}"
        )
    return splits if None not in splits else [None]


def _as_text(names: Sequence[str]) -> pa.Array:
    try:
        return pa.array(names, pa.large_string())
    except UnicodeEncodeError as error:
        raise UserError(
            f"the file name {error.object!r} is not valid text; rename the file"
        ) from None


def _folders(folder: Path) -> list[str]:
    """The names of the sub-folders; UserError when pictures lie beside them."""
    names = []
    for entry in entries(folder):
        if entry.is_dir():
            names.append(entry.name)
        elif _is_picture(entry.name):
            raise UserError(
                f"{entry.path} lies outside the sub-folders of the classes; move it into the "
                "sub-folder of its class, or away"
            )
    return names


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in Image.registered_extensions()


def open_folder(options: SourceOptions) -> Source:
    """The source for a folder: by its metadata files, if there are any, else by its sub-folders.

    A config that names a column asks for metadata files, too.
    """
    columns = options.label_column or options.caption_column or options.split_column
    if columns is not None or find_metadata(options.input):
        return MetadataSource(
            options.input,
            label_column=options.label_column,
            caption_column=options.caption_column,
            classes=options.classes,
            split_column=options.split_column,
            splits_from=options.splits_from,
        )
    if options.splits_from == "column":
        raise UserError(
            f"splits_from column needs a metadata.jsonl or .csv in {options.input}, and there "
            "is none; leave it out, or say names or draw"
        )
    return FolderSource(options.input, options.classes, options.splits_from)


FOLDER = SourceEntry(
    "folder",
    "one sub-folder a class, or a metadata.jsonl or .csv beside the pictures",
    open_folder,
    columns=("label_column", "caption_column", "split_column"),
)
