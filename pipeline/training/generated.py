"""Generated samples in the batches of a classifier's training, at a fixed share of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.chain.permutation import Purpose, keyed_permutation
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, check_fits
from pipeline.formats.sample_set import SampleSet, iterate_samples, open_sample_set
from pipeline.formats.shard import images_of, labels_of
from pipeline.training.draws import choose_evenly


def open_generated(path: Path, info: DatasetInfo) -> SampleSet:
    """A sample set whose rows can stand beside the dataset's.

    Raises:
        UserError: it is missing, empty, unfinished or damaged, or has another shape, other classes,
            or samples without a label.
    """
    samples = open_sample_set(path)
    check_fits(info, shape=samples.shape, classes=samples.classes, what=f"the sample set {path}")
    if samples.num_rows == 0:
        raise UserError(f"the sample set {path} is empty; generate some samples")
    for table in iterate_samples(samples, ["label"]):
        labels = labels_of(table)
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= len(info.classes):
            raise UserError(
                f"the sample set {path} has samples without a label of the dataset's; "
                "generate them with --labels"
            )
    return samples


@dataclass(frozen=True)
class GeneratedRows:
    """Samples that replace some of the rows of each batch.

    Which sample replaces which row depends only on the seed, the step and the row, so a resumed run
    and workers that share a batch see the same samples. All samples come once before any is
    repeated.

    Attributes:
        images: uint8 ``[M, H, W, C]``, held in memory.
        labels: int64 ``[M]``.
        share: the part of each batch that is replaced, in (0, 1).
        batch_size: rows of a batch, over all workers.
        seed: keys the order.
    """

    images: np.ndarray
    labels: np.ndarray
    share: float
    batch_size: int
    seed: int

    @staticmethod
    def read(samples: SampleSet, *, share: float, batch_size: int, seed: int) -> "GeneratedRows":
        """Reads a sample set that `open_generated` has checked into memory."""
        tables = list(iterate_samples(samples, ["image", "label"]))
        images = np.concatenate([images_of(table) for table in tables])
        labels = np.concatenate([labels_of(table) for table in tables])
        return GeneratedRows(images, labels, share, batch_size, seed)

    def mixed(
        self, step: int, rows: range, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """A worker's rows of the batch of step ``step``, some of them replaced by samples.

        Args:
            step: counted from 0.
            rows: the rows of the batch that the worker holds, N of them.
            images: uint8 ``[N, H, W, C]``.
            labels: int64 ``[N]``.
        """
        places, numbers, total = choose_evenly(self.share, rows, self.batch_size)
        wanted = self._samples(range(step * total + numbers.start, step * total + numbers.stop))
        images, labels = images.copy(), labels.copy()
        images[places], labels[places] = self.images[wanted], self.labels[wanted]
        return images, labels

    def _samples(self, positions: range) -> Sequence[int]:
        """The samples at these positions of an endless stream of permutations."""
        size = len(self.labels)
        return [int(_order(self.seed, p // size, size)[p % size]) for p in positions]


@lru_cache(maxsize=2)  # a batch lies in one epoch or two, and 60,000 numbers take a millisecond
def _order(seed: int, epoch: int, size: int) -> np.ndarray:
    return keyed_permutation(seed, epoch, Purpose.GENERATED_ORDER, size)
