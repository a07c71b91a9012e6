"""Writes ranges of a source's rows as shards of a dataset: a file a split, and one of bad rows."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.formats.dataset import dataset_table, write_shard
from pipeline.formats.quarantine import BadRow, write_quarantine
from pipeline.sources.base import RawRow, Source
from pipeline.sources.decode import Decoder
from pipeline.sources.division import Division
from pipeline.sources.fit import FitCounts


class ShardWriter:
    """Reads a range of rows, decodes them, and writes those of each split to a file of its own.

    Args:
        shape: height, width, channels that each picture must have.
        first: the origin of the picture that the shape comes from, for messages.
        division: how rows are divided; None if the source has splits.
        quarantine: whether bad rows are set aside; else the first one ends the work.
    """

    def __init__(
        self,
        source: Source,
        decoder: Decoder,
        shape: tuple[int, int, int],
        first: str,
        division: Division | None,
        output: Path,
        quarantine: bool,
    ) -> None:
        self._source, self._decoder = source, decoder
        self._shape, self._first = shape, first
        self._division, self._output = division, output
        self._quarantine = quarantine

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Writes the rows of a shard: a file `SPLIT/FILE` for each of their splits.

        Bad rows go to `quarantine/FILE`.

        Returns:
            num_rows and num_quarantined; for each file its split and the fields of `Shard`; the
            latter for the file of bad rows too; and the fields of `FitCounts` where pictures were
            resized.
        """
        rows, images, bad, sizes = self.load(shard)
        splits = [self._split_of(row) for row in rows]
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
        return {
            "num_rows": sum(file["num_rows"] for file in files),
            "num_quarantined": len(bad),
            "files": files,
            "quarantine": write_quarantine(bad, self._output, shard["file"]),
            "resized": FitCounts.of(sizes, self._shape[:2]).to_json()
            if self._decoder.resize
            else None,
        }

    def _split_of(self, row: RawRow) -> str:
        if self._division is not None:
            return self._division.split_of(row.id, row.label)
        assert row.split is not None
        return row.split

    def load(
        self, shard: dict[str, Any]
    ) -> tuple[list[RawRow], NDArray[np.uint8], list[BadRow], list[tuple[int, int]]]:
        """Reads the rows of a shard.

        Returns:
            The good rows; their pictures, uint8 [N, H, W, C]; the bad rows; and the height and
            width that each good picture had before it was resized.

        Raises:
            UserError: at the first bad row, unless these are set aside.
        """
        start, count = int(shard["start"]), int(shard["num_rows"])
        images = np.empty((count, *self._shape), np.uint8)
        good: list[RawRow] = []
        bad: list[BadRow] = []
        sizes: list[tuple[int, int]] = []
        for number, row in enumerate(self._source.read(start, start + count), start):
            if isinstance(row, RawRow):
                try:
                    image, size = self._decoder.decode_as(row, self._shape, self._first)
                    images[len(good)] = image
                    good.append(row)
                    sizes.append(size)
                    continue
                except UserError as error:
                    row = BadRow(row.id, number, row.origin, str(error))
            if not self._quarantine:
                raise UserError(row.message)
            bad.append(row)
        return good, images[: len(good)], bad, sizes
