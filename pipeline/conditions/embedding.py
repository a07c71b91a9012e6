"""One vector, a picture's or a sentence's: float32 ``[N, D]``, of which a row of zeros is null."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from pipeline.conditions.base import Condition, ConditionEmbedding, ConditionEntry
from pipeline.conditions.vectors import example_vectors, read_vectors
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo


class Embedding(Condition):
    """A vector of ``size`` dimensions, of about unit length."""

    column: ClassVar[str | None] = "embedding"
    embedded: ClassVar[bool] = True

    @classmethod
    def size_for(cls, info: DatasetInfo) -> int:
        raise UserError(f"{info.path} has no embeddings; give an embedding set with --embeddings")

    def read(self, columns: Mapping[str, np.ndarray]) -> Tensor:
        return read_vectors(columns["embedding"], (self.size,), "an embedding")

    def examples(self, num: int, untrained: Sequence[int] = ()) -> np.ndarray:
        return example_vectors((num, self.size))

    def is_null(self, condition: Tensor) -> Tensor:
        return ~condition.any(dim=1)

    def drop(self, condition: Tensor, mask: Tensor) -> Tensor:
        return condition.masked_fill(mask[:, None], 0)

    def pooled(self, condition: Tensor) -> Tensor:
        return condition

    def embedder(self, width: int) -> "VectorEmbedding":
        return VectorEmbedding(self, width)


class VectorEmbedding(ConditionEmbedding):
    """A linear map of the vector, scaled so that its coefficients are about 1."""

    def __init__(self, condition: Condition, width: int) -> None:
        super().__init__(condition, width)
        self.map = nn.Linear(condition.size, width)

    def embed(self, condition: Tensor) -> Tensor:
        vectors: Tensor = self.map(condition * math.sqrt(self.rule.size))
        return vectors


EMBEDDING = ConditionEntry("embedding", "one vector of an embedding set", Embedding)
