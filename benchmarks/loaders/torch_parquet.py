"""torch's `DataLoader` over the same Parquet files, as one writes it who knows pyarrow.

Row groups (512 rows) of all files in a new random order each epoch; the rows of sixteen of them at
a time are permuted and cut into batches in numpy: no Python for a single row.
"""

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch.utils.data

from benchmarks.loaders import Batch, as_it_is
from pipeline.formats.dataset import DatasetInfo, images_of, labels_of
from pipeline.formats.splits import TRAIN

_GROUPS_A_POOL = 16  # 8,192 rows of ours: what others call a shuffle buffer


def write(info: DatasetInfo, directory: Path) -> None:
    """Nothing: the Parquet files are there."""


def batches(
    info: DatasetInfo, directory: Path, batch_size: int, seed: int
) -> Generator[Batch, None, None]:
    """Shuffled batches without end; the rows left over from a pool begin the next batch."""
    files = [str(info.path / shard.file) for shard in info.splits[TRAIN]]
    # The data set makes whole batches: with batch_size=None the loader collates nothing.
    yield from torch.utils.data.DataLoader(
        ShuffledRowGroups(files, batch_size, seed), batch_size=None, collate_fn=as_it_is
    )


class ShuffledRowGroups(torch.utils.data.IterableDataset[Batch]):
    """Batches of rows out of permuted pools of row groups, epoch after epoch."""

    def __init__(self, files: list[str], batch_size: int, seed: int) -> None:
        self._files, self._batch_size, self._seed = files, batch_size, seed

    def __iter__(self) -> Iterator[Batch]:
        generator = np.random.default_rng(self._seed)
        size = self._batch_size
        left: Batch | None = None
        for images, labels in self._pools(generator):
            order = generator.permutation(len(labels))
            first = 0
            if left is not None:
                first = min(size - len(left[1]), len(order))
                chosen = order[:first]
                left = (
                    np.concatenate([left[0], images[chosen]]),
                    np.concatenate([left[1], labels[chosen]]),
                )
                if len(left[1]) < size:
                    continue
                yield left
                left = None
            whole = first + (len(order) - first) // size * size
            for start in range(first, whole, size):
                chosen = order[start : start + size]
                yield images[chosen], labels[chosen]
            if whole < len(order):
                left = images[order[whole:]], labels[order[whole:]]

    def _pools(self, generator: np.random.Generator) -> Iterator[Batch]:
        files = [pq.ParquetFile(file, memory_map=True) for file in self._files]
        groups = [(file, group) for file in files for group in range(file.num_row_groups)]
        while True:
            order = generator.permutation(len(groups))
            for first in range(0, len(order), _GROUPS_A_POOL):
                pool = pa.concat_tables(
                    file.read_row_group(group, columns=["image", "label"])
                    for file, group in (groups[i] for i in order[first : first + _GROUPS_A_POOL])
                )
                yield images_of(pool), labels_of(pool)
