"""The training data of a prior: two embedding sets of one dataset, joined by their rows' ids."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jobs.common.batches import EMBEDDED, Batch, batches_of, parts_of
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.keyed_sample import keyed_sample
from pipeline.formats.row_embeddings import RowEmbeddings
from pipeline.training.stream import Order


@dataclass(frozen=True)
class VectorData:
    """What the workers of a prior's run read, each all of it into its memory.

    It goes to them by value, and its batches are laid out as those of `TrainingData`: a vector is
    a picture of one pixel, ``image`` float16 ``[N, 1, 1, D]``, and what it is drawn on is
    `EMBEDDED`.

    Attributes:
        targets: the vectors, of pictures.
        embeddings: what they are drawn on, of texts; of the same split.
        order: which rows each step sees.
    """

    targets: RowEmbeddings
    embeddings: RowEmbeddings
    order: Order

    @staticmethod
    def of(
        targets: RowEmbeddings, embeddings: RowEmbeddings, *, seed: int, batch_size: int
    ) -> "VectorData":
        """The data in the order that the seed and the batch size give."""
        rows = [shard.num_rows for shard in targets.info.splits[targets.split]]
        row_bytes = targets.row_bytes + embeddings.row_bytes
        order = Order.of(rows, seed=seed, batch_size=batch_size, row_bytes=row_bytes)
        return VectorData(targets, embeddings, order)

    @property
    def info(self) -> DatasetInfo:
        """The dataset that both sets were made of."""
        return self.targets.info

    def batches(self, rows: range, steps: range) -> Iterator[Batch]:
        """A worker's part of the batch of each step; arguments as `training_batches`."""
        if len(steps) == 0:
            return
        columns = {
            "image": as_pictures(self.targets.read_all()),
            EMBEDDED: self.embeddings.read_all(),
        }
        yield from batches_of(columns, self.order, rows, steps)

    def keyed_batches(self, num_rows: int, seed: int) -> Iterator[Batch]:
        """Some random rows that the seed alone decides, in the same layout."""
        places = keyed_sample(self.info, self.targets.split, num_rows, seed).places
        for rows in parts_of(len(places)):
            yield {
                "image": as_pictures(self.targets.at(places[rows])),
                EMBEDDED: self.embeddings.at(places[rows]),
            }


def as_pictures(vectors: np.ndarray) -> np.ndarray:
    """Vectors ``[N, D]`` as pictures of one pixel, ``[N, 1, 1, D]``."""
    return vectors[:, None, None]
