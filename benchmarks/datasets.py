"""Datasets to measure on: Fashion-MNIST where it is, else pictures of the same size."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.dataset import (
    DatasetInfo,
    Shard,
    dataset_table,
    write_dataset_info,
    write_shard,
)
from pipeline.formats.splits import TRAIN
from pipeline.sources.base import RawRow
from pipeline.sources.idx import IdxSource

FASHION_MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "fashion-mnist"
ROWS_PER_SHARD = 2048  # `ingest`'s default
SIDE, CLASSES = 28, 10


def pictures(count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The first `count` (at most 60,000) training pictures and labels of Fashion-MNIST.

    Without its files beside the repository: synthetic ones. Returns uint8 [N, 28, 28, 1] and
    int64 [N].
    """
    if FASHION_MNIST.is_dir():
        source = IdxSource(FASHION_MNIST)
        read = source.read(0, source.num_rows)
        rows = [row for row in read if isinstance(row, RawRow) and row.split == TRAIN][:count]
        images = np.stack([np.asarray(row.image) for row in rows])
        return images, np.array([row.label for row in rows], np.int64)
    return synthetic(count)


def synthetic(
    count: int, side: int = SIDE, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures that zstd packs as Fashion-MNIST's, to 0.45 kB at side 28: 4 of 7 columns are noise.

    Returns uint8 [N, side, side, 1] and labels int64 [N].
    """
    generator = np.random.default_rng(seed)
    noisy = side * 4 // 7
    images = np.zeros((count, side, side, 1), np.uint8)
    first = (side - noisy) // 2
    images[:, :, first : first + noisy] = generator.integers(
        0, 256, (count, side, noisy, 1), np.uint8
    )
    return images, generator.integers(0, CLASSES, count)


def write_dataset(
    directory: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> DatasetInfo:
    """A dataset with these rows as its train split, in shards as `ingest` makes them."""
    starts = range(0, len(images), ROWS_PER_SHARD)
    return write_shards(
        directory,
        ((images[s : s + ROWS_PER_SHARD], labels[s : s + ROWS_PER_SHARD]) for s in starts),
    )


def write_shards(
    directory: Path, parts: Iterable[tuple[NDArray[np.uint8], NDArray[np.int64]]]
) -> DatasetInfo:
    """A dataset whose train split has a shard for each part; one part is in memory at a time."""
    shards: list[Shard] = []
    shape = (0, 0, 0)
    for index, (images, labels) in enumerate(parts):
        ids = [f"{index:05d}-{row:05d}" for row in range(len(images))]
        table = dataset_table(ids, images, labels, None)
        shards.append(write_shard(table, directory, f"{TRAIN}/part-{index:05d}.parquet"))
        height, width, channels = images.shape[1:]
        shape = (height, width, channels)
    return write_dataset_info(
        directory,
        shape=shape,
        classes=[str(label) for label in range(CLASSES)],
        splits={TRAIN: shards},
        has_captions=False,
        origin={"source": "benchmarks"},
    )
