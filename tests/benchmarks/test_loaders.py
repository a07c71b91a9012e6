"""The loaders of the data path's benchmark: each gives every row once an epoch, well mixed."""

import gc
from importlib.util import find_spec
from itertools import islice

import numpy as np
import pytest

from benchmarks.data_path import OURS, PEERS, loader
from benchmarks.datasets import synthetic, write_dataset

ROWS, BATCH = 5000, 100  # three Parquet files, more than one of the pools that rows are mixed in
NEEDS = {"webdataset_tar": "webdataset", "mosaicml_mds": "streaming"}  # of the extra [bench]


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    """Pictures that say which row they are, in their first two bytes."""
    images, _ = synthetic(ROWS)
    rows = np.arange(ROWS)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = rows // 256, rows % 256
    return write_dataset(tmp_path_factory.mktemp("bench") / "dataset", images, rows % 10)


# webdataset leaves it to the garbage collector to close its files.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", [pytest.param(OURS, marks=pytest.mark.ray), *PEERS])
def test_each_row_comes_once_an_epoch_with_its_own_label(name, info, tmp_path, request):
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is installed by `make bench`")
    if name == OURS:
        request.getfixturevalue("ray_cluster")
    chosen = loader(name)
    chosen.write(info, tmp_path / name)
    batches = chosen.batches(info, tmp_path / name, BATCH, seed=0)
    epochs = [list(islice(batches, ROWS // BATCH)) for _ in range(2)]
    batches.close()
    gc.collect()
    orders = []
    for epoch in epochs:
        images = np.concatenate([images for images, _ in epoch])
        labels = np.concatenate([labels for _, labels in epoch])
        assert images.dtype == np.uint8
        assert images.shape == (ROWS, 28, 28, 1)
        assert {len(labels) for _, labels in epoch} == {BATCH}
        orders.append(images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 1, 0])
        assert (orders[-1] % 10 == labels).all()
    assert [sorted(order) for order in orders] == [list(range(ROWS))] * 2
    assert (orders[0] != orders[1]).mean() > 0.9
    assert np.abs(np.diff(orders[0])).mean() > ROWS / 10
