"""What a classifier may be seen through, one kind a file; `THROUGH` holds them by name."""

from typing import TYPE_CHECKING, Literal

from pipeline.perturbation.through.entry import ThroughEntry
from pipeline.registry import entries_of

THROUGH = entries_of(__name__, __path__, ThroughEntry)

if TYPE_CHECKING:
    ThroughName = str
else:
    ThroughName = Literal[tuple(THROUGH)]
