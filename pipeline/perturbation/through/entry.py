"""What every kind offers that a classifier is seen through: a classifier of the two together."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.classifier import FrozenClassifier
from pipeline.formats.dataset import DatasetInfo


@dataclass(frozen=True)
class ThroughOptions:
    """What a config says of it.

    Attributes:
        name: a key of `THROUGH`.
        stack: the directory of a stack.
        layers: how many layers down the chain a picture goes; None for the kind's own number.
    """

    name: str
    stack: Path | None = None
    layers: int | None = None


@dataclass(frozen=True)
class ThroughEntry:
    """An entry of `THROUGH`.

    Attributes:
        name: what configs call it.
        help: one clause that says what it is.
        open: from the classifier, the options and the dataset to the classifier behind it, which
            has an identity of its own.
    """

    name: str
    help: str
    open: Callable[[FrozenClassifier, ThroughOptions, DatasetInfo], FrozenClassifier]
