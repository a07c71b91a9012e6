"""Our own with nothing kept on disk: what the first epoch costs, and any that finds no room."""

from collections.abc import Generator
from pathlib import Path

from benchmarks.loaders import Batch, ours
from pipeline.formats.dataset import DatasetInfo

write = ours.write


def batches(
    info: DatasetInfo, directory: Path, batch_size: int, seed: int
) -> Generator[Batch, None, None]:
    """The stream's batches, each picture unpacked from Parquet in each epoch."""
    return ours.batches(info, directory, batch_size, seed, cache_gb=0)
