"""A class label: int64 ``[N]``, of which -1 is null."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.class_names import NO_LABEL
from pipeline.conditions.base import Condition, ConditionEmbedding, ConditionEntry
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo


class Label(Condition):
    """One of ``size`` classes."""

    column: ClassVar[str | None] = "label"

    @classmethod
    def size_for(cls, info: DatasetInfo) -> int:
        if not info.classes:
            raise UserError(f"{info.path} has no labels; train with --condition none")
        return len(info.classes)

    def read(self, columns: Mapping[str, np.ndarray]) -> Tensor:
        labels = np.asarray(columns["label"])
        bad = (labels < NO_LABEL) | (labels >= self.size)
        if bad.any():
            outside = f"outside the model's classes 0 to {self.size - 1}"
            raise UserError(f"label {labels[bad][0]} is {outside}")
        return torch.tensor(labels, dtype=torch.int64)

    def examples(self, num: int, untrained: Sequence[int] = ()) -> np.ndarray:
        trained = np.setdiff1d(np.arange(self.size), untrained)
        return np.resize(trained if len(trained) else np.array([NO_LABEL]), num)

    def is_null(self, condition: Tensor) -> Tensor:
        return condition < 0

    def drop(self, condition: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask, torch.full_like(condition, NO_LABEL), condition)

    def embedder(self, width: int) -> "LabelEmbedding":
        return LabelEmbedding(self, width)


class LabelEmbedding(ConditionEmbedding):
    """A learned vector for each class."""

    def __init__(self, condition: Label, width: int) -> None:
        super().__init__(condition, width)
        self.table = nn.Embedding(condition.size, width)

    def embed(self, condition: Tensor) -> Tensor:
        vectors: Tensor = self.table(condition.clamp_min(0))
        return vectors


LABEL = ConditionEntry("label", "their class", Label)
