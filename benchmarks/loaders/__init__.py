"""Ours and our peers' ways from files to shuffled batches, one a module.

Each has `write(info, directory)`, which stores the dataset's rows in the loader's own format, and
`batches(info, directory, batch_size, seed)`: endless (images uint8 [N, H, W, C], labels int64 [N]),
shuffled anew in each epoch, all in numpy, in one process where the loader has a say in it.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.dataset import DatasetInfo

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


class Loader(Protocol):
    """What each module of this package offers."""

    def write(self, info: DatasetInfo, directory: Path) -> None:
        """Stores the train split's rows in the loader's format; nothing where that is Parquet."""

    def batches(
        self, info: DatasetInfo, directory: Path, batch_size: int, seed: int
    ) -> Generator[Batch, None, None]:
        """Shuffled batches without end."""


def as_it_is(batch: Any) -> Any:
    """The collation of what is a batch already."""
    return batch
