"""The networks, one file each; `NETWORKS` holds those of a stack, by name.

A stack's network maps a noisy picture, its level and a condition to numbers; `classifier` is the
one that Noisestack trains to be fooled, and to judge.
"""

from typing import TYPE_CHECKING, Literal

from pipeline.networks.base import NetworkEntry
from pipeline.registry import entries_of

NETWORKS = entries_of(__name__, __path__, NetworkEntry)

if TYPE_CHECKING:
    NetworkName = str
else:
    NetworkName = Literal[tuple(NETWORKS)]
