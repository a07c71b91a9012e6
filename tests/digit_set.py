"""The embedded digits as a dataset on disk, for tests; written without Ray."""

import shutil
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from pipeline.formats.dataset import DatasetInfo, dataset_table, write_dataset_info, write_shard
from pipeline.formats.sample_set import sample_table, write_manifest

CLASSES = tuple("0123456789")


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 real pictures in a fixed shuffled order, uint8 ``[N, 8, 8, 1]``, labels int64 ``[N]``.

    In the order of the source the writers of the last fifth are others than those before.
    """
    stored = load_digits()
    order = np.random.default_rng(0).permutation(len(stored.target))
    images = np.rint(stored.images * (255 / 16)).astype(np.uint8)[..., None]
    return images[order], stored.target.astype(np.int64)[order]


def write_digits(
    path: Path, *, num_train: int = 1437, num_test: int = 360, shard_rows: int = 100
) -> DatasetInfo:
    """A dataset of the first digits (train) and the last ones (test), in several shards each."""
    images, labels = digits()
    splits = {}
    for split, chosen in (
        ("train", np.arange(num_train)),
        ("test", np.arange(len(labels) - num_test, len(labels))),
    ):
        shards = []
        for number, start in enumerate(range(0, len(chosen), shard_rows)):
            rows = chosen[start : start + shard_rows]
            table = dataset_table([f"digit-{i}" for i in rows], images[rows], labels[rows], None)
            shards.append(write_shard(table, path, f"{split}/part-{number:05d}.parquet"))
        splits[split] = shards
    return write_dataset_info(
        path, shape=(8, 8, 1), classes=CLASSES, splits=splits, has_captions=False, origin={}
    )


def with_validation(info: DatasetInfo, path: Path) -> Path:
    """A copy of a dataset whose test split is called validation; its directory."""
    shutil.copytree(info.path, path)
    write_dataset_info(
        path,
        shape=info.shape,
        classes=info.classes,
        splits={"train": info.splits["train"], "validation": info.splits["test"]},
        has_captions=info.has_captions,
        origin={},
    )
    return path


def write_digit_samples(path: Path, labels: np.ndarray, classes: tuple[str, ...] = CLASSES) -> Path:
    """A sample set of the first digits, in two shards, with these labels."""
    shards = [
        write_shard(
            sample_table(0, part, labels[part], digits()[0][part]), path, f"part-{i:05d}.parquet"
        )
        for i, part in enumerate(np.array_split(np.arange(len(labels)), 2))
    ]
    write_manifest(path, shape=(8, 8, 1), classes=classes, shards=shards, origin={})
    return path
