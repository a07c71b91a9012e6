"""What pictures are drawn on: one kind of condition a file; `CONDITIONS` holds them, by name."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.conditions.base import Condition, ConditionEntry
from pipeline.registry import entries_of

CONDITIONS = entries_of(__name__, __path__, ConditionEntry)

if TYPE_CHECKING:
    ConditionName = str
else:
    ConditionName = Literal[tuple(CONDITIONS)]


@dataclass(frozen=True)
class ConditionSpec:
    """What a model's config.json says of its condition.

    Attributes:
        kind: a key of `CONDITIONS`.
        size: the number of classes, a vector's dimensions, or 0.
    """

    kind: ConditionName
    size: int = 0

    @property
    def rule(self) -> Condition:
        """The condition of this kind and size."""
        return CONDITIONS[self.kind].kind(self.size)
