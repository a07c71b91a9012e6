"""A small captioned dataset on disk, for tests; written without Ray."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.formats.dataset import DatasetInfo, dataset_table, write_dataset_info, write_shard


def write_captioned(
    path: Path, captions: Mapping[str, Sequence[str | None]], *, shard_rows: int = 4, side: int = 8
) -> DatasetInfo:
    """A dataset of one random grey picture a caption, split by split, in shards of a few rows."""
    draws = np.random.default_rng(0)
    splits = {}
    for split, texts in captions.items():
        shards = []
        for number, start in enumerate(range(0, len(texts), shard_rows)):
            part = texts[start : start + shard_rows]
            images = draws.integers(0, 256, (len(part), side, side, 1), dtype=np.uint8)
            ids = [f"{split}-{start + row}" for row in range(len(part))]
            table = dataset_table(ids, images, None, part)  # type: ignore[arg-type]
            shards.append(write_shard(table, path, f"{split}/part-{number:05d}.parquet"))
        splits[split] = shards
    return write_dataset_info(
        path, shape=(side, side, 1), classes=(), splits=splits, has_captions=True, origin={}
    )
