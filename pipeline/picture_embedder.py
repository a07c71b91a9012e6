"""One shard of an embedding set of pictures: read a shard's pictures, encode, store. No Ray."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.allocator import keep_freed_memory
from pipeline.errors import UserError
from pipeline.formats.dataset import images_of
from pipeline.formats.embedding_rows import embedding_table, write_embeddings
from pipeline.formats.shard import read_part
from pipeline.picture_encoder import PictureEncoder


class PictureEmbedder:
    """Turns shards of a dataset into shards of an embedding set, without tokens.

    Args:
        dataset: its directory.
        model: the picture encoder's directory.
        sha256: its identity, as another process opened it.
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
        model: Path,
        sha256: str,
        output: Path,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        keep_freed_memory()
        torch.set_num_threads(threads)  # an inherited OMP_NUM_THREADS may say otherwise
        self._dataset, self._output = dataset, output
        self._encoder = PictureEncoder.load(model, device=device)
        if self._encoder.sha256 != sha256:
            raise UserError(f"{model} was replaced by another encoder meanwhile; embed anew")

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Makes one shard; returns its record: file, rows, hash and size."""
        source = self._dataset / str(shard["source"])
        table = read_part(source, 0, int(shard["num_rows"]), ["id", "image"])
        pooled = self._encoder.encode(images_of(table)).astype(np.float16)
        rows = embedding_table(table.column("id").to_pylist(), pooled)
        return asdict(write_embeddings(rows, self._output, str(shard["file"])))
