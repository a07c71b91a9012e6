"""The words in names of folders, files and columns that stand for splits."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from pipeline.errors import UserError
from pipeline.formats.splits import SPLITS, TEST, TRAIN, VALIDATION

SplitsFrom = Literal["auto", "names", "column", "draw"]
UNLABELED = "unlabeled"  # a part without labels: no split of a dataset, and no class
_WORDS = {
    "train": TRAIN,
    "training": TRAIN,
    "test": TEST,
    "testing": TEST,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "unlabeled": UNLABELED,
    "unlabelled": UNLABELED,
}
_TAILS = ("", "set", "data", "images")  # "trainset" is as common as "train_set"
WORDS = {word + tail: split for word, split in _WORDS.items() for tail in _TAILS}
# "mnistTrain" and "MNISTTrain" are two words each, as "mnist_train" and "mnist-train2017" are.
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LETTERS = re.compile(r"[^\W\d_]+")
_FIRST = re.compile(r"[A-Za-z]+")
_FILLING = frozenset({"of", "part", "shard"})


@lru_cache(maxsize=4096)
def splits_in(name: str) -> tuple[str, ...]:
    """The splits among a name's whole words, in any case: ("train",) for "MNIST-Train_2"."""
    said = (WORDS.get(word) for word in _words(name))
    return tuple(dict.fromkeys(split for split in said if split))


def split_in(name: str) -> str | None:
    """The split in a name; None if it has none, or several."""
    said = splits_in(name)
    return said[0] if len(said) == 1 else None


def says_split_alone(name: str) -> bool:
    """Whether a name is one split and otherwise filler: "Train", "test-00000-of-00002"."""
    return split_in(name) is not None and all(
        word in WORDS or word in _FILLING for word in _words(name)
    )


def first_split(name: str) -> str | None:
    """The split in the first word of a picture's name: "test" for "test_001.png"."""
    match = _FIRST.match(name)
    return None if match is None else WORDS.get(match[0].lower())


def usable_splits(names: Iterable[str]) -> tuple[str, ...]:
    """The splits among ``names`` that a source uses, in the order of `SPLITS`.

    With `train` alone there is nothing to judge on: the result is empty, and the rows are divided.
    `test` alone is kept, since pictures to judge on must not be trained on.
    """
    present = set(names)
    return () if present == {TRAIN} else tuple(split for split in SPLITS if split in present)


def split_of_path(parts: Sequence[str], key: str, path: Path) -> tuple[str, str] | None:
    """The split in a file's path, and where it stands: "folders", "file names", "hive keys".

    A part that is only a split counts before a part with other words (``test-data/train.parquet``
    is train), and a part with two splits counts as none.

    Args:
        parts: the names of the folders below the input, and the file's without its ending.
        key: the hive key that says a split: ``split`` in ``split=train``. Other keys' values are
            data.
        path: the file, for messages.

    Raises:
        UserError: the key's value is no split, or the parts disagree.
    """
    claims: list[tuple[str, str, bool]] = []
    for number, part in enumerate(parts):
        name, equals, value = part.partition("=")
        if equals:
            if name.casefold() == key.casefold():
                split = split_in(unquote(value))
                if split is None:
                    raise UserError(f"{part} in {path} is no split that is known; {REMEDY}")
                claims.append((split, "hive keys", True))
            continue
        split = split_in(part)
        if split is not None:
            kind = "file names" if number == len(parts) - 1 else "folders"
            claims.append((split, kind, says_split_alone(part)))
    best = [hit for hit in claims if hit[2]] or claims
    if len({split for split, _, _ in best}) > 1:
        said = " and ".join(dict.fromkeys(split for split, _, _ in best))
        raise UserError(f"the path {path} says {said} at once; {REMEDY}")
    return (best[0][0], best[0][1]) if best else None


REMEDY = "rename it, or say where splits come from with --splits-from"


def _words(name: str) -> list[str]:
    return [word.lower() for run in _LETTERS.findall(name) for word in _CAMEL.split(run) if word]
