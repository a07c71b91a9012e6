"""Where pictures come from: one source a file; `SOURCES` holds what the files offer, by name."""

from typing import TYPE_CHECKING, Literal

from pipeline.registry import entries_of
from pipeline.sources.base import SourceEntry

SOURCES = entries_of(__name__, __path__, SourceEntry)

if TYPE_CHECKING:
    SourceName = str
else:
    SourceName = Literal[tuple(SOURCES)]
