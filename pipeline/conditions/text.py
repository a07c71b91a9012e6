"""A sentence: float32 ``[N, 1 + L, D]``, its pooled vector and after it the states of its tokens.

Places without a token are zero, and a row whose pooled vector is zero is null.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

from pipeline.conditions.base import Condition, ConditionEntry
from pipeline.conditions.embedding import VectorEmbedding
from pipeline.conditions.vectors import example_vectors, read_vectors
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo


class Text(Condition):
    """A sentence's pooled vector of ``size`` dimensions and at most ``length`` token states.

    The pooled vector goes the way of a label; networks attend to the token states.
    """

    column: ClassVar[str | None] = "text"
    embedded: ClassVar[bool] = True
    has_tokens: ClassVar[bool] = True

    @classmethod
    def size_for(cls, info: DatasetInfo) -> int:
        raise UserError(f"{info.path} has no embeddings; give an embedding set with --embeddings")

    def read(self, columns: Mapping[str, np.ndarray]) -> Tensor:
        return read_vectors(columns["text"], (1 + self.length, self.size), "a text's embedding")

    def examples(self, num: int, untrained: Sequence[int] = ()) -> np.ndarray:
        rows = example_vectors((num, 1 + self.length, self.size))
        rows[:, 2 + self.length // 2 :] = 0  # texts seldom fill all places
        return rows

    def is_null(self, condition: Tensor) -> Tensor:
        return ~condition[:, 0].any(dim=1)

    def drop(self, condition: Tensor, mask: Tensor) -> Tensor:
        return condition.masked_fill(mask[:, None, None], 0)

    def tokens(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        states = condition[:, 1:]
        return states, states.any(dim=2) & ~self.is_null(condition)[:, None]

    def pooled(self, condition: Tensor) -> Tensor:
        return condition[:, 0]

    def embedder(self, width: int) -> "PooledEmbedding":
        return PooledEmbedding(self, width)


class PooledEmbedding(VectorEmbedding):
    """A linear map of the pooled vector."""

    def embed(self, condition: Tensor) -> Tensor:
        return super().embed(self.rule.pooled(condition))


TEXT = ConditionEntry("text", "a sentence: the vector and the tokens of an embedding set", Text)
