"""The kinds of conditions: their null form, how they are stored, and where values come from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.formats.dataset import DatasetInfo


@dataclass(frozen=True)
class Condition(ABC):
    """A kind of condition for pictures, and its size; a model's config.json holds both.

    A batch has its conditions in one tensor ``[N, …]``, in which rows may be null; None means that
    all rows are null.

    Attributes:
        size: the number of classes, a vector's dimensions, or 0.
        length: places for tokens, for a kind that has them; else 0.
        column: the name of the values that it is read from; None for none.
        embedded: whether these come from an embedding set, and not from the dataset.
        has_tokens: whether networks can attend to parts of a condition.
    """

    size: int
    length: int = 0
    column: ClassVar[str | None]
    embedded: ClassVar[bool] = False
    has_tokens: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def size_for(cls, info: DatasetInfo) -> int:
        """The size of a model that is to be trained on a dataset.

        Raises:
            UserError: the dataset lacks what pictures should be drawn on.
        """

    @abstractmethod
    def read(self, columns: Mapping[str, np.ndarray]) -> Tensor | None:
        """The conditions of N rows, from a dataset or a request.

        Args:
            columns: arrays of N values by their columns' names; a request has ``column`` alone.

        Raises:
            UserError: the column is not there, or a value that the model does not know.
        """

    @abstractmethod
    def is_null(self, condition: Tensor) -> Tensor:
        """Which rows carry no condition, bool ``[N]``."""

    @abstractmethod
    def drop(self, condition: Tensor, mask: Tensor) -> Tensor:
        """The conditions with the rows of ``mask`` (bool ``[N]``) made null."""

    @abstractmethod
    def examples(self, num: int, untrained: Sequence[int] = ()) -> np.ndarray:
        """Conditions ``[num, …]`` to try a network with, as `read` takes them; none is null.

        Args:
            num: how many.
            untrained: labels to leave out.
        """

    def tokens(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """What networks attend to: states ``[N, L, D]``, and which are there, bool ``[N, L]``.

        Raises:
            NotImplementedError: a kind without tokens.
        """
        raise NotImplementedError

    def pooled(self, condition: Tensor) -> Tensor:
        """What a condition says in one vector: ``[N, D]``.

        Raises:
            NotImplementedError: a kind that is no vector.
        """
        raise NotImplementedError

    @abstractmethod
    def embedder(self, width: int) -> "ConditionEmbedding":
        """An untrained embedding of conditions as vectors of ``width``, a part of a network."""


class ConditionEmbedding(nn.Module):
    """Maps conditions to vectors, with a learned vector for the null condition."""

    def __init__(self, condition: Condition, width: int) -> None:
        super().__init__()
        self.rule = condition
        self.null = nn.Parameter(torch.zeros(width))

    def embed(self, condition: Tensor) -> Tensor:
        """``[N, …]`` to ``[N, width]``; the result for null rows is finite but unused."""
        raise NotImplementedError

    def forward(self, condition: Tensor | None, num_rows: int) -> Tensor:
        """``[N, …]``, or None for null in all ``num_rows``, to ``[N, width]``."""
        null = self.null.expand(num_rows, -1)
        if condition is None:
            return null
        absent = self.rule.is_null(condition)[:, None]
        return torch.where(absent, null, self.embed(condition))


@dataclass(frozen=True)
class ConditionEntry:
    """An entry of `CONDITIONS`: what configs and models call a kind of condition.

    Attributes:
        name: what configs and config.json call it.
        help: what ``--help`` says of it, after its name.
        kind: the class of its conditions.
    """

    name: str
    help: str
    kind: type[Condition]
