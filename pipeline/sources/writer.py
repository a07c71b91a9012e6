"""Ranges of a source's rows into the shards of a dataset, one file a split."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.dataset import dataset_table, write_shard
from pipeline.sources.base import RawRow, Source, split_of
from pipeline.sources.decode import Decoder


class ShardWriter:
    """Reads a range of rows, decodes them, and writes those of each split to a file of its own.

    shape: height, width, channels that each picture must have. first: where the picture stands
    that set it. seed, test_fraction: how rows are divided that the source gives no split.
    """

    def __init__(
        self,
        source: Source,
        decoder: Decoder,
        shape: tuple[int, int, int],
        first: str,
        seed: int,
        test_fraction: float,
        output: Path,
    ) -> None:
        self._source, self._decoder = source, decoder
        self._shape, self._first = shape, first
        self._seed, self._test_fraction, self._output = seed, test_fraction, output

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Writes rows `start` to `start + num_rows` to `SPLIT/FILE` for each split among them.

        Returns num_rows and, for each file, its split and the fields of `Shard`.
        """
        rows, images = self.load(shard)
        splits = [row.split or split_of(row.id, self._seed, self._test_fraction) for row in rows]
        files = []
        for split in sorted(set(splits)):
            chosen = [index for index, name in enumerate(splits) if name == split]
            labels = [rows[index].label for index in chosen]
            captions = [rows[index].caption or "" for index in chosen]
            table = dataset_table(
                [rows[index].id for index in chosen],
                images[chosen],
                labels if self._source.classes else None,
                captions if self._source.has_captions else None,
            )
            written = write_shard(table, self._output, f"{split}/{shard['file']}")
            files.append({"split": split, **asdict(written)})
        return {"num_rows": sum(file["num_rows"] for file in files), "files": files}

    def load(self, shard: dict[str, Any]) -> tuple[list[RawRow], NDArray[np.uint8]]:
        """The rows of a shard and their pictures, uint8 [N, H, W, C].

        Raises UserError at the first row that cannot be read or has another shape.
        """
        rows = self._source.read(shard["start"], shard["start"] + shard["num_rows"])
        return rows, self._decoder.decode_all(rows, self._shape, self._first)
