"""What can be smoothed, one kind a file; `BASES` holds what the files offer, by name."""

from typing import TYPE_CHECKING, Literal

from pipeline.registry import entries_of
from pipeline.smoothing.bases.entry import BaseEntry

BASES = entries_of(__name__, __path__, BaseEntry)

if TYPE_CHECKING:
    BaseName = str
else:
    BaseName = Literal[tuple(BASES)]
