"""Our own: the training stream, as a worker of `train_stack` reads it, without the model."""

from collections.abc import Generator
from pathlib import Path

from benchmarks.loaders import Batch
from jobs.common.stream import CACHE_GB, TrainingData, training_batches
from noisestack.session import ray_session
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.splits import TRAIN

_EPOCHS = 2000  # more than any measurement reads


def write(info: DatasetInfo, directory: Path) -> None:
    """Nothing: the Parquet files are there."""


def batches(
    info: DatasetInfo, directory: Path, batch_size: int, seed: int, cache_gb: float = CACHE_GB
) -> Generator[Batch, None, None]:
    """The stream's batches, in a Ray of its own that is stopped with the iterator."""
    steps = range(info.num_rows(TRAIN) * _EPOCHS // batch_size)
    data = TrainingData.of(
        info, TRAIN, seed=seed, batch_size=batch_size, mode="streaming", cache_gb=cache_gb
    )
    with ray_session():
        for batch in training_batches(data, range(batch_size), steps):
            yield batch["image"], batch["label"]
