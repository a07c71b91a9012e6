"""What every source of labelled pictures offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.quarantine import BadRow
from pipeline.sources.splits import SplitsFrom

KEYS_AT_ONCE = 1 << 14  # rows


@dataclass(frozen=True)
class RawRow:
    """One picture as its source has it.

    Attributes:
        id: unique within the source, and the same each time it is read.
        image: uint8 [H, W, C] with C = 1 (grey) or 3 (RGB), or the bytes of an encoded picture.
        label: index into the source's classes; -1 without labels.
        caption: text, empty where the source has none for this row; None without captions.
        split: the split that the source itself gives the row; None where rows are to be divided.
        origin: where the picture stands, for messages.
    """

    id: str
    image: NDArray[np.uint8] | bytes
    label: int
    caption: str | None
    split: str | None
    origin: str


class Source(ABC):
    """Rows 0 ... num_rows - 1 in a fixed order, any range of which can be read.

    Sources pickle cheaply: they hold paths and listings, and open files when they are read.
    """

    num_rows: int
    classes: tuple[str, ...]  # empty without labels
    splits: tuple[str, ...]  # those that the source has; empty where rows are to be divided
    splits_origin: str = ""  # where the splits are stated: "folders", "column split"
    notes: tuple[str, ...] = ()  # lines for a person on how the source was understood
    has_captions: bool

    @abstractmethod
    def read(self, start: int, stop: int) -> Sequence[RawRow | BadRow]:
        """Rows start to stop (exclusive); a row that cannot be used is a `BadRow`.

        Raises:
            UserError: the fault concerns more than single rows, such as a missing file.
        """

    def first_bad_label(self) -> int | None:
        """The first row that `read` refuses because of its label, or None; reads no picture."""
        return None

    def keys(self) -> Iterator[tuple[list[str], NDArray[np.int64]]]:
        """Ids and labels of all rows but known bad ones, batch by batch.

        Sources that have them without reading pictures override this.
        """
        for start in range(0, self.num_rows, KEYS_AT_ONCE):
            read = self.read(start, min(start + KEYS_AT_ONCE, self.num_rows))
            rows = [row for row in read if isinstance(row, RawRow)]
            yield [row.id for row in rows], np.array([row.label for row in rows], np.int64)


@dataclass(frozen=True)
class SourceOptions:
    """A person's options for a source; those that it does not take are at their defaults.

    Attributes:
        input: the folder or file; set for every source that takes one.
        classes: their names in the order of their labels; None for those that the data name.
        image_column, label_column, caption_column, id_column, split_column: of a table's rows.
        splits_from: what says the split of a row.
    """

    input: Path = Path()
    classes: tuple[str, ...] | None = None
    image_column: str = "image"
    label_column: str | None = None
    caption_column: str | None = None
    id_column: str | None = None
    split_column: str | None = None
    splits_from: SplitsFrom = "auto"


@dataclass(frozen=True)
class SourceEntry:
    """An entry of `SOURCES`: a source as a person chooses it.

    Attributes:
        name: what a config calls it.
        help: what ``--help`` says of it, after its name.
        open: the source of these options; UserError where it is not there or not usable.
        has_input: whether it reads a folder or a file, whose classes may be named; else it brings
            its own pictures.
        columns: which of the options that name columns it takes.
    """

    name: str
    help: str
    open: Callable[[SourceOptions], Source]
    has_input: bool = True
    columns: tuple[str, ...] = ()


def in_order_of_names(classes: Iterable[str]) -> tuple[str, ...]:
    """Class names without repeats, sorted; by value where all of them are whole numbers."""
    names = set(classes)
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
