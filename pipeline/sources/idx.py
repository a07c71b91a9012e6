"""idx files, the format of MNIST and its kin: big-endian header, then the bytes; often gzipped.

The format is described at the foot of Y. LeCun's MNIST page: two zero bytes, one for the type
(8: unsigned bytes), one for the number of dimensions, and each dimension as a 32-bit integer.
"""

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.formats.quarantine import BadRow
from pipeline.formats.splits import SPLITS, TEST
from pipeline.sources.base import KEYS_AT_ONCE, RawRow, Source, SourceEntry
from pipeline.sources.classes import check_classes
from pipeline.sources.listing import entries, user_files
from pipeline.sources.splits import WORDS, SplitsFrom, usable_splits

_NAME = re.compile(
    r"(?:.*[-_])?([^-_]+)[-_](images|labels)[-.]idx[13]-ubyte(?:\.gz)?", re.IGNORECASE
)
_MNIST = {"t10k": TEST}  # the 10,000 pictures of MNIST's test split


class IdxSource(Source):
    """Grey pictures, uint8 [H, W, 1], in the idx files that MNIST came in, gzipped or not.

    The files are train-images-idx3-ubyte, train-labels-idx1-ubyte and the same with t10k-, test- or
    validation-.

    Args:
        classes: the name of each label; by default each number that occurs is a class, called by
            it.
        splits_from: "draw" where the files' names say nothing of splits.

    Raises:
        UserError: files are missing, truncated, no idx files, or of different lengths. A label
            outside the classes only makes its row bad.
    """

    @user_files()
    def __init__(
        self,
        path: Path | str,
        classes: Sequence[str] | None = None,
        splits_from: SplitsFrom = "auto",
    ) -> None:
        parts = _find(Path(path).absolute())
        self._parts: list[tuple[str, Path, Path, int]] = []  # split, images, labels, rows
        occurring: set[int] = set()
        for split, (images, labels) in parts.items():
            count, values = _shape(images, 3)[0], _array(labels, 1)
            if count != len(values):
                raise UserError(
                    f"{images} has {count} pictures and {labels} has {len(values)} labels; "
                    "check that they belong together"
                )
            occurring.update(np.unique(values).tolist())
            self._parts.append((split, images, labels, count))
        self.num_rows = sum(count for _, _, _, count in self._parts)
        if self.num_rows == 0:
            raise UserError(f"the idx files in {path} hold no pictures; check the path")
        # 256 numbers to the labels that they are; -1 for those of no class.
        self._label_of = np.full(256, -1, np.int64)
        if classes is None:
            self.classes = tuple(map(str, sorted(occurring)))
            self._label_of[sorted(occurring)] = range(len(occurring))
        else:
            self.classes, self.notes = check_classes(classes, "--classes")
            self._label_of[: len(self.classes)] = range(min(len(self.classes), 256))
        self.splits = usable_splits(parts) if splits_from != "draw" else ()
        self.splits_origin = "file names" if splits_from != "draw" else ""
        self.has_captions = False

    @user_files()
    def read(self, start: int, stop: int) -> list[RawRow | BadRow]:
        rows: list[RawRow | BadRow] = []
        position = 0
        for split, images_file, labels_file, count in self._parts:
            first, last = max(start - position, 0), min(stop - position, count)
            if first < last:
                images, labels = _array(images_file, 3), _array(labels_file, 1)
                digits = len(str(count - 1))
                for row in range(first, last):
                    name, origin = f"{split}-{row:0{digits}d}", f"picture {row} of {images_file}"
                    label = int(self._label_of[labels[row]])
                    if label < 0:
                        reason = (
                            f"label {labels[row]} of row {row} in {labels_file} lies outside the "
                            f"{len(self.classes)} classes, which are numbered from 0; give a name "
                            "for each number"
                        )
                        rows.append(BadRow(name, position + row, origin, reason))
                        continue
                    row_split = split if self.splits else None
                    image = images[row, :, :, None]
                    rows.append(RawRow(name, image, label, None, row_split, origin))
            position += count
        return rows

    @user_files()
    def keys(self) -> Iterator[tuple[list[str], NDArray[np.int64]]]:
        for split, _, labels_file, count in self._parts:
            labels, digits = _array(labels_file, 1), len(str(count - 1))
            for start in range(0, count, KEYS_AT_ONCE):
                there = self._label_of[labels[start : start + KEYS_AT_ONCE]]
                good = np.flatnonzero(there >= 0)
                ids = [f"{split}-{row:0{digits}d}" for row in (start + good).tolist()]
                yield ids, there[good]

    @user_files()
    def first_bad_label(self) -> int | None:
        position = 0
        for _, _, labels, count in self._parts:
            outside = self._label_of[_array(labels, 1)] < 0
            if outside.any():
                return position + int(np.argmax(outside))
            position += count
        return None


def _find(folder: Path) -> dict[str, tuple[Path, Path]]:
    """The images and the labels of each split, train first."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; check the path")
    file_of: dict[tuple[str, str], Path] = {}
    for file in (folder / entry.name for entry in entries(folder)):
        match = _NAME.fullmatch(file.name)
        if match is None:
            continue
        word = match[1].lower()
        split = _MNIST.get(word) or WORDS.get(word)
        if split not in SPLITS:
            raise UserError(
                f"{file} is called {match[1]}, which is no split that is known; rename it or move "
                "it away"
            )
        key = (split, match[2].lower())
        if key in file_of and file.name == f"{file_of[key].name}.gz":
            continue  # torchvision leaves what it has unpacked beside it; entries are in order
        if key in file_of:
            raise UserError(
                f"{file_of[key].name} and {file.name} in {folder} are both {key[0]} {key[1]}; "
                "leave one of them"
            )
        file_of[key] = file
    if not file_of:
        raise UserError(
            f"{folder} has no idx files (train-images-idx3-ubyte, train-labels-idx1-ubyte, "
            "t10k-..., with or without .gz); check the path"
        )
    for split, kind in file_of:
        other = "labels" if kind == "images" else "images"
        if (split, other) not in file_of:
            raise UserError(f"{folder} has {split} {kind} but no {split} {other}; add that file")
    names = [split for split in SPLITS if (split, "images") in file_of]
    return {split: (file_of[split, "images"], file_of[split, "labels"]) for split in names}


def _open(file: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file) if file.suffix == ".gz" else open(file, "rb"))


def _read(file: Path, num_bytes: int) -> bytes:
    """The first bytes of a file, unpacked; UserError when it has fewer."""
    try:
        with _open(file) as stream:
            data = stream.read(num_bytes)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file} cannot be read ({error}); copy it anew") from None
    if len(data) < num_bytes:
        raise UserError(
            f"{file} is cut short: {len(data)} bytes where {num_bytes} are needed; copy it anew"
        )
    return data


def _shape(file: Path, dimensions: int) -> tuple[int, ...]:
    """The dimensions in the header, which must be of unsigned bytes."""
    header = _read(file, 4 + 4 * dimensions)
    if header[:4] != bytes((0, 0, 8, dimensions)):
        raise UserError(
            f"{file} is not an idx file of unsigned bytes in {dimensions} dimensions; check the "
            "files' names"
        )
    return struct.unpack(f">{dimensions}I", header[4:])


def _array(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """The bytes of an idx file, read-only; unpacked once in a process and then kept."""
    status = file.stat()
    return _cached_array(file, dimensions, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _cached_array(file: Path, dimensions: int, _changed: int, _size: int) -> NDArray[np.uint8]:
    shape = _shape(file, dimensions)
    start = 4 + 4 * dimensions
    if file.suffix == ".gz":
        data = _read(file, start + math.prod(shape))
        return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
    if file.stat().st_size < start + math.prod(shape):
        raise UserError(
            f"{file} is cut short: {file.stat().st_size} bytes where {start + math.prod(shape)} "
            "are needed; copy it anew"
        )
    return (
        np.memmap(file, np.uint8, "r", offset=start, shape=shape)
        if shape[0]
        else np.empty(shape, np.uint8)
    )


IDX = SourceEntry("idx", "MNIST's files", lambda o: IdxSource(o.input, o.classes, o.splits_from))
