"""The embeddings of a split's rows, from an embedding set that was made of the same dataset."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from pipeline.formats.dataset import DatasetInfo, shards_of
from pipeline.formats.embedding_set import (
    EmbeddingSet,
    check_embeds,
    check_ids,
    open_embedding_set,
    read_embeddings,
)
from pipeline.formats.shard import read_part


@dataclass(frozen=True)
class RowEmbeddings:
    """What each row of a split is embedded as. Small: it travels to workers by value.

    Attributes:
        info: the dataset.
        split: of the dataset.
        embeddings: the set.
        pooled_only: whether the pooled vectors alone are wanted of a set that has tokens, too.
    """

    info: DatasetInfo
    split: str
    embeddings: EmbeddingSet
    pooled_only: bool

    @staticmethod
    def open(path: Path, info: DatasetInfo, split: str, *, pooled_only: bool) -> "RowEmbeddings":
        """Opens an embedding set for the rows of a split.

        Raises:
            UserError: it is none, is unfinished, or was made of another dataset or split.
        """
        embeddings = open_embedding_set(path)
        check_embeds(embeddings, info, split)
        return RowEmbeddings(info, split, embeddings, pooled_only)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row: ``(1 + L, D)`` with tokens, else ``(D,)``."""
        encoder = self.embeddings.encoder
        if self.pooled_only or not self.embeddings.has_tokens:
            return (encoder.width,)
        return (1 + encoder.max_length, encoder.width)

    @property
    def row_bytes(self) -> int:
        """The size of a row in memory, where it is float16."""
        return 2 * prod(self.shape)

    def read(self, number: int) -> np.ndarray:
        """The embeddings of a shard of the split, float16 ``[N, *shape]``.

        Raises:
            UserError: the set has other rows there than the dataset.
        """
        ids, values = read_embeddings(
            self.embeddings, self.split, number, pooled_only=self.pooled_only
        )
        shard = shards_of(self.info, self.split)[number]
        table = read_part(self.info.path / shard.file, 0, shard.num_rows, ["id"])
        due = [str(name) for name in table.column("id").to_pylist()]
        check_ids(self.embeddings, self.split, number, ids, due)
        return values

    def read_all(self) -> np.ndarray:
        """The embeddings of all rows of the split, float16 ``[N, *shape]``; errors as `read`."""
        shards = range(len(shards_of(self.info, self.split)))
        return np.concatenate([self.read(number) for number in shards])

    def at(self, places: np.ndarray) -> np.ndarray:
        """The embeddings of some rows, float16 ``[N, *shape]``.

        Args:
            places: the shard and the row in it of each, int64 ``[N, 2]``.
        """
        out = np.empty((len(places), *self.shape), np.float16)
        for number in np.unique(places[:, 0]).tolist():
            at = places[:, 0] == number
            out[at] = self.read(number)[places[at, 1]]
        return out
