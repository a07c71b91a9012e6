"""A sample is the first ids in keyed order, wherever their rows stand."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from digit_set import CLASSES, digits

from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, dataset_table, write_dataset_info, write_shard
from pipeline.formats.keyed_sample import keyed_sample

LABELS = digits()[1][:60].copy()
LABELS[[3, 40]] = -1, 10  # no classes


def write(path: Path, order: np.ndarray, shard_rows: int) -> DatasetInfo:
    shards = []
    for number, start in enumerate(range(0, 60, shard_rows)):
        rows = order[start : start + shard_rows]
        table = dataset_table([f"d{i}" for i in rows], digits()[0][rows], LABELS[rows], None)
        shards.append(write_shard(table, path, f"train/part-{number:05d}.parquet"))
    return write_dataset_info(
        path,
        shape=(8, 8, 1),
        classes=CLASSES,
        splits={"train": shards},
        has_captions=False,
        origin={},
    )


@pytest.mark.parametrize("num", [1, 17, 58, 500])
def test_it_is_the_first_ids_in_the_order_of_their_hashes_in_any_order_of_rows(
    tmp_path: Path, num: int
) -> None:
    good = [i for i in range(60) if i not in (3, 40)]
    expected = sorted(good, key=lambda i: sha256(f"7:d{i}".encode()).hexdigest())[:num]
    for name, order, shard_rows in (
        ("straight", np.arange(60), 60),
        ("shuffled", np.random.default_rng(0).permutation(60), 13),
    ):
        info = write(tmp_path / name, order, shard_rows)
        sample = keyed_sample(info, "train", num, 7, 10)
        assert sample.ids == tuple(f"d{i}" for i in expected)
        assert np.array_equal(sample.images, digits()[0][expected])
        assert np.array_equal(sample.labels, LABELS[expected])
    any_label = sorted(range(60), key=lambda i: sha256(f"7:d{i}".encode()).hexdigest())[:num]
    everything = keyed_sample(info, "train", num, 7)
    assert everything.ids == tuple(f"d{i}" for i in any_label)
    assert np.array_equal(everything.labels, LABELS[any_label])
    assert keyed_sample(info, "train", 17, 8, 10).ids != keyed_sample(info, "train", 17, 7, 10).ids


def test_an_unknown_split_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no split 'test', only train"):
        keyed_sample(write(tmp_path, np.arange(60), 60), "test", 5, 0, 10)
