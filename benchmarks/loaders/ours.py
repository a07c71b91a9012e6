"""Our own: the training stream, as a worker of `train_stack` reads it, without the model."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.loaders import Batch
from jobs.common.stream import training_dataset
from noisestack.session import ray_session
from pipeline.formats.dataset import DatasetInfo
from pipeline.sources.base import TRAIN

_EPOCHS = 200  # more than any measurement reads


def write(info: DatasetInfo, directory: Path) -> None:
    """Nothing: the Parquet files are there."""


def batches(info: DatasetInfo, directory: Path, batch_size: int, seed: int) -> Iterator[Batch]:
    """The stream's batches, in a Ray of its own that is stopped with the iterator."""
    steps = info.num_rows(TRAIN) * _EPOCHS // batch_size
    with ray_session():
        stream = training_dataset(
            info, TRAIN, batch_size=batch_size, num_steps=steps, start_step=0, seed=seed
        )
        for batch in stream.iter_batches(batch_size=batch_size, prefetch_batches=2, drop_last=True):
            yield batch["image"], batch["label"]
