"""What each sample of a set is drawn on: a pure function of its index.

So a set that is resumed, or made again, is drawn on the same, and a worker needs to know only which
rows it makes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class PlannedRows:
    """What N samples are drawn on.

    Attributes:
        labels: int64 ``[N]``, -1 for no class.
        captions: N texts: the prompts, or what named the labels; None where none were given.
        vectors: float32 ``[N, D]``, of a plan that holds them; None for others.
    """

    labels: np.ndarray
    captions: pa.Array | None = None
    vectors: np.ndarray | None = None


class ConditionPlan(ABC):
    """What all samples of a set are drawn on."""

    @property
    @abstractmethod
    def num_rows(self) -> int | None:
        """How many samples the plan asks for; None when it serves any number."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> PlannedRows:
        """What samples ``start`` to ``stop`` (exclusive) are drawn on."""

    @abstractmethod
    def origin(self) -> dict[str, Any]:
        """What decides it, as JSON: plans of the same origin give the same rows."""
