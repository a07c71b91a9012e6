"""Plans of prompts: sentences in turn, or a column of them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.class_names import NO_LABEL, label_by_name
from pipeline.errors import UserError
from pipeline.sampling.column_files import ColumnFiles, open_column_files
from pipeline.sampling.plan import ConditionPlan, PlannedRows
from pipeline.sources.listing import user_files

MOST_IN_TURN = 100_000
"""Prompts in turn: they stand in the set's manifest, and travel to every worker."""

_ROWS_A_READ = 1 << 16


class PromptPlan(ConditionPlan):
    """The prompts of all samples of a set."""

    @property
    def num_rows(self) -> int:
        """How many prompts there are; from there on they come again from the first."""
        raise NotImplementedError

    def texts(self, start: int, stop: int) -> pa.Array:
        """The prompts of samples ``start`` to ``stop`` (exclusive), strings.

        Raises:
            UserError: a prompt is missing or empty.
        """
        raise NotImplementedError

    def rows(self, start: int, stop: int) -> PlannedRows:
        return PlannedRows(np.full(stop - start, NO_LABEL, np.int64), self.texts(start, stop))

    def distinct_parts(self, count: int) -> Iterator[list[str]]:
        """The prompts of samples 0 to ``count`` (exclusive) without those that come again.

        They come in parts, so that few are in memory; errors as `texts`.
        """
        for start in range(0, min(count, self.num_rows), _ROWS_A_READ):
            stop = min(start + _ROWS_A_READ, count, self.num_rows)
            yield self.texts(start, stop).unique().to_pylist()


@dataclass(frozen=True)
class PromptsInTurn(PromptPlan):
    """The same prompts over and over: sample i gets prompt ``i mod len(prompts)``.

    Attributes:
        prompts: at least one, none of them empty.
    """

    prompts: tuple[str, ...]

    @property
    def num_rows(self) -> int:
        return len(self.prompts)

    def texts(self, start: int, stop: int) -> pa.Array:
        turns = pa.array(np.arange(start, stop) % len(self.prompts))
        return pa.array(self.prompts, pa.string()).take(turns)

    def origin(self) -> dict[str, Any]:
        return {"prompts": list(self.prompts)}


@dataclass(frozen=True)
class PromptColumn(PromptPlan):
    """A column of text in Parquet files, row by row; only the needed rows are read.

    Attributes:
        files: the column.
    """

    files: ColumnFiles

    @property
    def num_rows(self) -> int:
        return self.files.num_rows

    def texts(self, start: int, stop: int) -> pa.Array:
        parts = [self._read(first, last) for first, last in self.files.spans(start, stop)]
        return pa.concat_arrays([pa.array([], pa.string()), *parts])

    def origin(self) -> dict[str, Any]:
        return {"prompts_column": self.files.column, "sha256": self.files.sha256}

    def _read(self, start: int, stop: int) -> pa.Array:
        texts = self.files.cells(start, stop).cast(pa.string())
        for row, text in enumerate(texts.to_pylist()):
            if text is None or not text.strip():
                what = "there is no text" if text is None else "the text is empty"
                raise UserError(
                    f"{self.files.place(start + row)}: {what}; a prompt is a sentence: "
                    "leave the row out, or give it one"
                )
        return texts


def is_null_prompt(prompt: str) -> bool:
    """Whether a prompt asks for no condition: ``<none>`` or ``-``, as among classes."""
    return label_by_name(prompt, ()) == NO_LABEL


def prompts_in_turn(values: Sequence[str], where: str) -> PromptsInTurn:
    """Sentences, or files of which each line is one, in turn.

    Args:
        values: each is the path of a file that is there, or else a sentence.
        where: the beginning of messages.

    Raises:
        UserError: there is none; a sentence or a line is empty; a file is not there, cannot be
            read, or holds too many.
    """
    prompts: list[str] = []
    for value in values:
        if not value.strip():
            raise UserError(f"{where}: a prompt is empty; write a sentence, or <none> for none")
        prompts += _lines_of(Path(value), where) if _is_file(value, where) else [value]
    if not prompts:
        raise UserError(f"{where} is empty; write a sentence, or name a file of them")
    if len(prompts) > MOST_IN_TURN:
        raise UserError(
            f"{where} has {len(prompts):,} prompts, and {MOST_IN_TURN:,} can come in turn; make "
            "them a column of a Parquet file, and give --prompts-from"
        )
    return PromptsInTurn(tuple(prompts))


def open_prompts(path: Path, column: str, *, split: str | None = None) -> PromptColumn:
    """The plan of a column of prompts; where it is looked for as `open_column_files` has it.

    Raises:
        UserError: there is no file, no such column, or a column of another type than text.
    """
    files = open_column_files(path, column, split=split, split_flag="--prompts-split")
    if not pa.types.is_string(files.kind):
        raise UserError(f"column {column} of {path} is {files.kind}, not text; name another column")
    return PromptColumn(files)


def _is_file(value: str, where: str) -> bool:
    """Whether a value is a file's path; one that looks like it and is none is refused."""
    try:
        if os.path.isfile(value):
            return True
    except ValueError:  # no path at all
        return False
    like_a_path = value.endswith(".txt") or value.startswith(("/", "./", "../", "~"))
    if like_a_path and not any(map(str.isspace, value)):
        raise UserError(f"{where}: there is no file {value}; check the path")
    return False


@user_files()
def _lines_of(path: Path, where: str) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{where}: {path} is not a text file in UTF-8; convert it") from None
    lines = text.removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise UserError(
                f"{where}: line {number} of {path} is empty; write a sentence, or remove the line"
            )
    return lines
