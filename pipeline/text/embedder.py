"""One shard of an embedding set: read a shard's captions, encode, store. No Ray."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from pipeline.allocator import keep_freed_memory
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, iterate_shards, load_dataset
from pipeline.formats.embedding_rows import embedding_table, write_embeddings
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.shard import read_part
from pipeline.text.encoder import encoder_for
from pipeline.text.tokens import UnusableText, beginning, check_text

_COLUMNS = ["id", "caption"]
_AT_ONCE = 512  # rows whose padded states are in memory: 12 MB of all-MiniLM's


class CaptionEmbedder:
    """Turns shards of a dataset into shards of an embedding set.

    Args:
        dataset: its directory.
        encoder: which, as another process opened it.
        output: the set's directory.
        device: a torch device.
        threads: torch threads of this process.

    Raises:
        UserError: the encoder is not at hand here, or is another one.
    """

    def __init__(
        self,
        *,
        dataset: Path,
        encoder: EncoderId,
        output: Path,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        keep_freed_memory()
        torch.set_num_threads(threads)  # an inherited OMP_NUM_THREADS may say otherwise
        self._info, self._output = load_dataset(dataset), output
        self._encoder = encoder_for(encoder, None, device=device)

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Makes one shard.

        Args:
            shard: one of `shards_to_embed`.

        Returns:
            The shard's record: file, rows, hash, size; how many texts were cut, and the first.

        Raises:
            UserError: a caption has no word that the encoder knows.
        """
        source = self._info.path / str(shard["source"])
        parts: list[pa.Table] = []
        num_cut, first_cut = 0, ""
        for start in range(0, int(shard["num_rows"]), _AT_ONCE):
            stop = min(start + _AT_ONCE, int(shard["num_rows"]))
            table = read_part(source, start, stop, _COLUMNS)
            captions = table.column("caption").to_pylist()
            try:
                found = self._encoder.encode(captions)
            except UnusableText as error:
                row = int(shard["start"]) + start + error.row
                raise _unusable(self._info, str(shard["split"]), row, error.what) from None
            if found.num_cut and not num_cut:
                row = int(found.cut.argmax())
                place = f"row {int(shard['start']) + start + row} of {shard['split']}"
                first_cut = f"{place}, {beginning(captions[row])}"
            num_cut += found.num_cut
            ids = table.column("id").to_pylist()
            parts.append(embedding_table(ids, found.pooled, found.tokens, found.lengths))
        written = write_embeddings(pa.concat_tables(parts), self._output, str(shard["file"]))
        return {**asdict(written), "num_cut": num_cut, "first_cut": first_cut}


def check_captions(info: DatasetInfo, splits: Sequence[str]) -> None:
    """That every row has a caption to encode; only that column is read.

    Raises:
        UserError: a row has none; the first is named.
    """
    for split in splits:
        row = 0
        for table in iterate_shards(info, split, ["caption"]):
            for caption in table.column("caption").to_pylist():
                try:
                    check_text(caption, row)
                except UnusableText as error:
                    raise _unusable(info, split, row, error.what) from None
                row += 1


def _unusable(info: DatasetInfo, split: str, row: int, what: str) -> UserError:
    return UserError(
        f"the caption of row {row} of {info.path}, split {split}, {what}; give it words and ingest "
        "anew"
    )
