"""Which label each sample gets: a pure function of its index, whoever asks and however often.

So a set that is resumed, or made again, has the same labels, and a worker needs to know no more
than the rows that it makes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.dataset import DATASET_FILE, load_dataset, shards_of
from pipeline.formats.output import sha256_of_file, sha256_of_json
from pipeline.formats.shard import Shard, column_type, open_parquet, read_range
from pipeline.networks.condition import NO_LABEL

NO_CONDITION = "-"  # what a person writes for no condition
_NAMED_CLASSES = 12  # in messages
_ROWS_A_READ = 1 << 20


@dataclass(frozen=True)
class Given:
    """What some samples are drawn on.

    Attributes:
        labels: int64 ``[N]``, -1 for no condition.
        captions: N texts, kept beside the labels that they name; None where there were none.
    """

    labels: np.ndarray
    captions: pa.Array | None = None


class LabelPlan(ABC):
    """The labels of all samples of a set."""

    @property
    @abstractmethod
    def num_rows(self) -> int | None:
        """How many samples the plan asks for; None when it serves any number."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> Given:
        """What samples ``start`` to ``stop`` (exclusive) are drawn on."""

    @abstractmethod
    def origin(self) -> dict[str, Any]:
        """What decides the labels, as JSON can hold it: the same origin, the same labels."""


@dataclass(frozen=True)
class InTurn(LabelPlan):
    """Labels, with or without the captions that named them, given to the samples in turn."""

    labels: tuple[int, ...]
    captions: tuple[str, ...] | None = None

    @property
    def num_rows(self) -> None:
        return None

    def rows(self, start: int, stop: int) -> Given:
        turns = np.arange(start, stop) % len(self.labels)
        captions = self.captions
        return Given(
            np.array(self.labels, np.int64)[turns],
            None if captions is None else pa.array(captions, pa.string()).take(pa.array(turns)),
        )

    def origin(self) -> dict[str, Any]:
        labels = {"in_turn": list(self.labels)}
        return labels if self.captions is None else labels | {"captions": list(self.captions)}


@dataclass(frozen=True)
class PerClass(LabelPlan):
    """So many of each label: in turn, until a label has its number.

    Any beginning of the set holds the classes as evenly as their numbers allow.
    """

    counts: Mapping[int, int]

    @property
    def num_rows(self) -> int:
        return sum(self.counts.values())

    @cached_property
    def _rounds(self) -> tuple[tuple[int, int, np.ndarray], ...]:
        """Runs of equal rounds: the first sample, the sample behind the last, a round's labels."""
        runs, start, done = [], 0, 0
        for count in sorted({*self.counts.values()} - {0}):
            labels = np.array([label for label, n in self.counts.items() if n >= count], np.int64)
            stop = start + (count - done) * len(labels)
            runs.append((start, stop, labels))
            start, done = stop, count
        return tuple(runs)

    def rows(self, start: int, stop: int) -> Given:
        parts = [np.empty(0, np.int64)]
        for first, behind, labels in self._rounds:
            inside = np.arange(max(start, first), min(stop, behind))
            parts.append(labels[(inside - first) % len(labels)])
        return Given(np.concatenate(parts))

    def origin(self) -> dict[str, Any]:
        return {"per_class": [[label, count] for label, count in self.counts.items()]}


@dataclass(frozen=True)
class Column(LabelPlan):
    """A column of Parquet files, row by row, and again from the first row when they are used up.

    Only the rows asked for are read.

    Attributes:
        directory: where the files are.
        shards: the files, in order, with their hashes.
        column: whole numbers or text.
        classes: the model's.
        names: what the column's numbers stand for; the model's classes, unless it is a dataset's.
        captions: the texts are kept, and must be names of classes.
    """

    directory: Path
    shards: tuple[Shard, ...]
    column: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    captions: bool = False

    @property
    def num_rows(self) -> int:
        return sum(shard.num_rows for shard in self.shards)

    def rows(self, start: int, stop: int) -> Given:
        parts = []
        while start < stop:
            first = start % self.num_rows
            last = min(first + stop - start, self.num_rows)
            parts.append(self._read(first, last))
            start += last - first
        return Given(
            np.concatenate([np.empty(0, np.int64), *(part.labels for part in parts)]),
            pa.concat_arrays([pa.array([], pa.string()), *(part.captions for part in parts)])
            if self.captions
            else None,
        )

    def check(self) -> None:
        """Reads the whole column once, a million rows at a time.

        Raises:
            UserError: a row that names no class of the model, with its number and file.
        """
        for start in range(0, self.num_rows, _ROWS_A_READ):
            self.rows(start, min(start + _ROWS_A_READ, self.num_rows))

    def origin(self) -> dict[str, Any]:
        return {
            "column": self.column,
            "sha256": sha256_of_json([[shard.num_rows, shard.sha256] for shard in self.shards]),
            "names": list(self.names),
            "captions": self.captions,
        }

    def _read(self, start: int, stop: int) -> Given:
        table = read_range(self.directory, self.shards, start, stop, [self.column])
        column_type(table, self.column)
        values = table.column(self.column).combine_chunks()
        if isinstance(values, pa.DictionaryArray):
            values = values.dictionary_decode()
        coded = values.dictionary_encode(null_encoding="encode")
        label_of = [self._label(value) for value in coded.dictionary.to_pylist()]
        known = np.array([label is not None for label in label_of], bool)
        codes = coded.indices.to_numpy()
        if not known.all():
            row = int(np.argmax(~known[codes]))
            raise UserError(
                f"{self._place(start + row)}: {_no_class(values[row].as_py(), self.classes)}"
            )
        return Given(
            np.array([NO_LABEL if label is None else label for label in label_of], np.int64)[codes],
            values.cast(pa.string()) if self.captions else None,
        )

    def _label(self, value: str | int | None) -> int | None:
        if value is None:
            return None
        if isinstance(value, int):
            if 0 <= value < len(self.names):
                return label_named(self.names[value], self.classes)
            return NO_LABEL if value == NO_LABEL else None
        if self.captions:
            return label_named(value, self.classes)
        return _label_called(value, self.classes)

    def _place(self, row: int) -> str:
        """A row of the column in words."""
        for shard in self.shards:
            if row < shard.num_rows:
                break
            row -= shard.num_rows
        return f"row {row} of {self.directory / shard.file}, column {self.column}"


def label_named(text: str, classes: Sequence[str]) -> int | None:
    """The class that a text names, in any case and with spaces around it; -1 for "-".

    None when it names none, or, in another case than its own, more than one.
    """
    name = text.strip()
    if name in classes:
        return list(classes).index(name)
    folded = [known.casefold() for known in classes]
    if folded.count(name.casefold()) == 1:
        return folded.index(name.casefold())
    return NO_LABEL if name == NO_CONDITION else None


def all_in_turn(classes: Sequence[str]) -> InTurn:
    """All classes in turn; no condition for a model without classes."""
    return InTurn(tuple(range(len(classes))) or (NO_LABEL,))


def labels_in_turn(texts: Sequence[str], classes: Sequence[str], where: str) -> InTurn:
    """Names of classes, or their numbers where no class is called by a number, in turn.

    Raises:
        UserError: begins with ``where``; there is none, or one is no class.
    """
    return InTurn(_resolve(texts, classes, where, _label_called))


def captions_in_turn(texts: Sequence[str], classes: Sequence[str], where: str) -> InTurn:
    """Captions that are names of classes, in turn; errors as `labels_in_turn`."""
    return InTurn(_resolve(texts, classes, where, label_named), tuple(texts))


def per_class(counts: int | Mapping[str, int], classes: Sequence[str], where: str) -> PerClass:
    """The same number of each class, or a number for each class that is named.

    Raises:
        UserError: begins with ``where``; a name that is no class or comes twice, or no sample.
    """
    if isinstance(counts, int):
        plan = PerClass(dict.fromkeys(range(len(classes)), counts))
    else:
        labels = _resolve(tuple(counts), classes, where, _label_called)
        if len(set(labels)) < len(labels):
            raise UserError(f"{where} gives a class two numbers; name each class once")
        plan = PerClass(dict(zip(labels, counts.values(), strict=True)))
    if plan.num_rows == 0:
        why = "" if classes else ": the model has no classes; say how many with --count"
        raise UserError(f"{where} asks for no sample at all{why}")
    return plan


def open_column(
    path: Path,
    column: str,
    classes: Sequence[str],
    *,
    split: str | None = None,
    captions: bool = False,
) -> Column:
    """The plan of a column of a Parquet file, of the Parquet files in a folder, or of a dataset.

    Args:
        split: of a dataset; None for ``train``.
        captions: the column's texts are captions.

    Raises:
        UserError: nothing to read there, no such column, or one of another type.
    """
    names = tuple(classes)
    if (path / DATASET_FILE).is_file():
        info = load_dataset(path)
        directory, shards = info.path, shards_of(info, split or "train")
        names = info.classes or names
    else:
        if split is not None:
            raise UserError(f"--labels-split {split}: {path} is not a dataset; leave it out")
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        directory = path if path.is_dir() else path.parent
        shards = tuple(map(_describe, files))
    plan = Column(directory, shards, column, tuple(classes), names, captions)
    if not plan.num_rows:
        raise UserError(f"{path} has no rows in Parquet files (*.parquet); check the path")
    with open_parquet(directory / shards[0].file) as file:
        kind = column_type(file.schema_arrow.empty_table(), column)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not text and (captions or not pa.types.is_integer(kind)):
        wanted = "text" if captions else "whole numbers or text"
        raise UserError(f"column {column} of {path} is {kind}, not {wanted}; name another column")
    return plan


def _describe(path: Path) -> Shard:
    with open_parquet(path) as file:
        num_rows = file.metadata.num_rows
    return Shard(path.name, num_rows, sha256_of_file(path), path.stat().st_size)


def _label_called(text: str, classes: Sequence[str]) -> int | None:
    """The class that a text names, or whose number it is where no class is called by a number."""
    label = label_named(text, classes)
    number = text.strip()
    if label is None and number.isdecimal() and not any(name.isdecimal() for name in classes):
        label = int(number) if int(number) < len(classes) else None
    return label


def _resolve(
    texts: Sequence[str],
    classes: Sequence[str],
    where: str,
    label_of: Callable[[str, Sequence[str]], int | None],
) -> tuple[int, ...]:
    labels = []
    for text in texts:
        label = label_of(text, classes)
        if label is None:
            raise UserError(f"{where}: {_no_class(text, classes)}")
        labels.append(label)
    if not labels:
        raise UserError(f"{where} is empty; name classes, or leave it out for all of them")
    return tuple(labels)


def _no_class(value: str | int | None, classes: Sequence[str]) -> str:
    """Why a value is no label, and what would be one."""
    if not classes:
        return f"the model has no classes, so nothing but '{NO_CONDITION}' can be asked of it"
    listed = ", ".join(classes[:_NAMED_CLASSES])
    if len(classes) > _NAMED_CLASSES:
        listed += f" and {len(classes) - _NAMED_CLASSES} more"
    if value is None:
        return f"there is no label; the model takes a class: {listed}"
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return f"the model takes a class and has no class {shown}, only {listed}"
