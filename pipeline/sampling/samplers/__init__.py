"""The samplers, one file each; `SAMPLERS` holds what the files of this folder offer, by name."""

from typing import TYPE_CHECKING, Literal

from pipeline.registry import entries_of
from pipeline.sampling.base import SamplerEntry

SAMPLERS = entries_of(__name__, __path__, SamplerEntry)

if TYPE_CHECKING:
    SamplerName = str
else:
    SamplerName = Literal[tuple(SAMPLERS)]
