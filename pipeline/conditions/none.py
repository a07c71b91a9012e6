"""No condition: every row is null."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pipeline.class_names import NO_LABEL
from pipeline.conditions.base import Condition, ConditionEmbedding, ConditionEntry
from pipeline.formats.dataset import DatasetInfo


class Unconditional(Condition):
    """No condition; its size is 0."""

    column: ClassVar[str | None] = None

    @classmethod
    def size_for(cls, info: DatasetInfo) -> int:
        return 0

    def read(self, columns: Mapping[str, np.ndarray]) -> None:
        return None

    def examples(self, num: int, untrained: Sequence[int] = ()) -> np.ndarray:
        return np.full(num, NO_LABEL)

    def is_null(self, condition: Tensor) -> Tensor:
        return torch.ones(len(condition), dtype=torch.bool, device=condition.device)

    def drop(self, condition: Tensor, mask: Tensor) -> Tensor:
        return condition

    def embedder(self, width: int) -> "NullEmbedding":
        return NullEmbedding(self, width)


class NullEmbedding(ConditionEmbedding):
    """The null vector alone."""

    def embed(self, condition: Tensor) -> Tensor:
        return self.null.expand(len(condition), -1)


NONE = ConditionEntry("none", "nothing", Unconditional)
