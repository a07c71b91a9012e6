"""A metadata file: rows that name pictures, as CSV or as JSON lines."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.sources.listing import entries, user_files

NAMES = ("metadata.jsonl", "metadata.csv")
FILE_NAME = "file_name"
_UNREAD = "metadata.parquet"  # which Hugging Face's imagefolder takes too
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
    """The metadata files of a folder and of the folders in it.

    Empty if one of them has no column `file_name`: then it is something else.
    """
    if not root.is_dir():
        return ()
    files = []
    for folder in ("", *(entry.name for entry in entries(root) if entry.is_dir())):
        unread = root / folder / _UNREAD
        if unread.is_file():
            raise UserError(
                f"{unread} is not read: store its rows as {' or '.join(NAMES)}, or, where it has "
                f"nothing to say, move it away"
            )
        here = [root / folder / name for name in NAMES if (root / folder / name).is_file()]
        if len(here) > 1:
            raise UserError(f"{here[0]} and {here[1]} speak of the same pictures; remove one")
        for path in here:
            columns = _columns(path)
            _check_header(path, columns)
            if FILE_NAME in columns:
                files.append(MetadataFile(path, folder, columns))
    return tuple(files)


def chosen_column(
    files: Sequence[MetadataFile], name: str | None, defaults: Sequence[str], flag: str
) -> str | None:
    """The column called `name`, or the first of the defaults that all files have; None without one.

    Raises UserError where a file lacks a column that is named, or that another file has.
    """
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


def _check_header(path: Path, columns: Sequence[str]) -> None:
    """Raises UserError at a file that is hardly meant to be passed over, or has no one meaning."""
    if not columns:
        raise UserError(f"{path} is empty; fill it, or remove it")
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        raise UserError(f"{path} has two columns called {twice}; rename one of them")
    like = [column for column in columns if FILE_NAME in column.lower()]
    if like and FILE_NAME not in columns:
        raise UserError(
            f"{path} has no column {FILE_NAME} but {like[0]!r}; name it so, and separate columns "
            "by commas"
        )


def _columns(path: Path) -> tuple[str, ...]:
    """The columns of a CSV; of JSON lines all that occur, since any row may lack some."""
    with user_files():
        try:
            if path.suffix == ".csv":
                with open(path, encoding="utf-8-sig", newline="") as stream:
                    return tuple(next(csv.reader(stream), ()))
            return tuple(dict.fromkeys(name for _, cells in _rows(path) for name in cells))
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
