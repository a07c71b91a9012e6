"""A folder of pictures, one sub-folder a class: DIR/CLASS/..., or DIR/train/CLASS/... and so on."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.errors import UserError
from pipeline.formats.quarantine import BadRow
from pipeline.sources.base import TRAIN, RawRow, Source, given_splits, in_order_of_names
from pipeline.sources.listing import entries, files_below, user_files

SPLIT_NAMES = (TRAIN, "test", "val", "valid", "validation")


class FolderSource(Source):
    """Pictures that Pillow can read, in a sub-folder for each class, however deep inside it.

    When the sub-folders are `train` and others of SPLIT_NAMES, the classes stand one level lower.
    Hidden files are passed over; any other file in a class's sub-folder must be a picture. Links
    are followed. The id is the relative path.

    classes: the classes in the order of their labels; by default the sub-folders' names, sorted,
    by value where all are whole numbers.

    Raises UserError when the folder is missing or empty, a class has no picture, pictures lie
    outside the sub-folders, or a sub-folder is none of the classes.
    """

    @user_files()
    def __init__(self, path: Path | str, classes: Sequence[str] | None = None) -> None:
        self._root = Path(path).absolute()
        if not self._root.is_dir():
            raise UserError(f"there is no folder {self._root}; check the path")
        inner = _folders(self._root)
        found = [name for name in SPLIT_NAMES if name in inner]
        parts = found if TRAIN in found and len(found) == len(inner) else [""]
        self.splits = given_splits(parts)
        self.classes = tuple(classes or in_order_of_names(_folders(self._root / parts[0])))
        label_of = {name: label for label, name in enumerate(self.classes)}
        # Arrow and numpy, and no list of all: 10 million paths take their letters and 8 bytes each
        # instead of a gigabyte, and pickle as single buffers.
        files: list[pa.Array] = []
        labels: list[int] = []
        splits: list[int] = []
        for number, part in enumerate(parts):
            for name in in_order_of_names(_folders(self._root / part)):
                if name not in label_of:
                    raise UserError(
                        f"the sub-folder {self._root / part / name} is none of the classes "
                        f"({', '.join(self.classes)}); remove it or name it among the classes"
                    )
                inside = list(files_below(self._root, os.path.join(part, name)))
                if not inside:
                    raise UserError(
                        f"the sub-folder {self._root / part / name} is empty; "
                        "put pictures there or remove it"
                    )
                files.append(_as_text(inside))
                labels.append(label_of[name])
                splits.append(number)
        if not files:
            raise UserError(
                f"{self._root} has no sub-folders with pictures; make one for each class"
            )
        counts = [len(inside) for inside in files]
        self.num_rows = sum(counts)
        self.has_captions = False
        self._parts = parts
        self._files = pa.concat_arrays(files)
        self._labels = np.repeat(np.array(labels, np.int32), counts)
        self._splits = np.repeat(np.array(splits, np.int8), counts)

    def read(self, start: int, stop: int) -> list[RawRow | BadRow]:
        rows: list[RawRow | BadRow] = []
        for row in range(start, stop):
            name = self._files[row].as_py()
            file = self._root / name
            try:
                data = file.read_bytes()
            except OSError as error:
                if not self._root.is_dir():  # no row's fault: the disk is gone
                    raise UserError(f"there is no folder {self._root} any more") from None
                reason = f"{file} cannot be read ({error.strerror}); check it"
                rows.append(BadRow(name, row, str(file), reason))
                continue
            rows.append(
                RawRow(
                    id=name,
                    image=data,
                    label=int(self._labels[row]),
                    caption=None,
                    split=self._parts[self._splits[row]] if self.splits else None,
                    origin=str(file),
                )
            )
        return rows


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
        elif Path(entry.name).suffix.lower() in Image.registered_extensions():
            raise UserError(
                f"{entry.path} lies outside the sub-folders of the classes; move it into the "
                "sub-folder of its class, or away"
            )
    return names
