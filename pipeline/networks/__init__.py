"""The networks, one file each; `NETWORKS` holds those of a stack, by name.

A stack's network maps a noisy picture, its level and a condition to numbers; `classifier` is the
one that Noisestack trains to be fooled, and to judge.
"""

from typing import TYPE_CHECKING, Literal

from pipeline.networks.base import NetworkEntry
from pipeline.registry import entries_of

NETWORKS = entries_of(__name__, __path__, NetworkEntry)
PICTURE_NETWORKS = {name: entry for name, entry in NETWORKS.items() if not entry.vectors}
VECTOR_NETWORKS = {name: entry for name, entry in NETWORKS.items() if entry.vectors}

if TYPE_CHECKING:
    NetworkName = str
    PictureNetworkName = str
    VectorNetworkName = str
else:
    NetworkName = Literal[tuple(NETWORKS)]
    PictureNetworkName = Literal[tuple(PICTURE_NETWORKS)]
    VectorNetworkName = Literal[tuple(VECTOR_NETWORKS)]
