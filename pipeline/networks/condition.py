"""What a picture is drawn on: a class label, a text embedding, or nothing."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.class_names import NO_LABEL


@dataclass(frozen=True)
class ConditionSpec:
    """The kind of condition a network takes.

    Attributes:
        kind: ``label`` (an int64 class), ``embedding`` (a float vector), or ``none``.
        size: the number of classes, the embedding's dimensions, or 0.
    """

    kind: Literal["label", "embedding", "none"]
    size: int = 0


class ConditionEmbedding(nn.Module):
    """Maps conditions to vectors, with a learned vector for the null condition.

    A null condition is a label of -1, or an embedding whose first entry is NaN.
    """

    def __init__(self, spec: ConditionSpec, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.null = nn.Parameter(torch.zeros(width))
        self.table = nn.Embedding(spec.size, width) if spec.kind == "label" else None
        self.project = nn.Linear(spec.size, width) if spec.kind == "embedding" else None

    def forward(self, condition: Tensor | None, num_rows: int) -> Tensor:
        """int64 ``[N]`` labels, float ``[N, size]`` embeddings, or None, to ``[N, width]``."""
        null = self.null.expand(num_rows, -1)
        if condition is None:
            return null
        absent = is_null(condition)[:, None]
        if self.table is not None:
            return torch.where(absent, null, self.table(condition.clamp_min(0)))
        if self.project is not None:
            return torch.where(absent, null, self.project(torch.nan_to_num(condition)))
        return null


def is_null(condition: Tensor) -> Tensor:
    """bool ``[N]``: which rows carry no condition."""
    return condition < 0 if condition.dim() == 1 else torch.isnan(condition[:, 0])


def drop(condition: Tensor, mask: Tensor) -> Tensor:
    """The conditions with the rows of ``mask`` (bool ``[N]``) made null."""
    if condition.dim() == 1:
        return torch.where(mask, torch.full_like(condition, NO_LABEL), condition)
    return torch.where(mask[:, None], torch.full_like(condition, torch.nan), condition)
