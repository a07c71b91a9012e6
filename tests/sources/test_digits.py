"""The embedded digits are scikit-learn's, scaled from 0 ... 16 to 0 ... 255."""

import pickle

import numpy as np
from sklearn.datasets import load_digits

from pipeline.sources.digits import DigitsSource


def test_every_digit_is_that_of_scikit_learn_times_255_over_16() -> None:
    source = DigitsSource()
    rows = source.read(0, source.num_rows)
    stored = load_digits()
    assert source.num_rows == len(rows) == 1797
    assert source.classes == tuple("0123456789")
    assert source.splits == ()
    images = np.stack([np.asarray(row.image) for row in rows])
    assert images.shape == (1797, 8, 8, 1)
    assert images.dtype == np.uint8
    assert images.max() == 255
    assert np.array_equal(np.rint(images[..., 0] * (16 / 255)), stored.images)
    assert [row.label for row in rows] == stored.target.tolist()
    assert len({row.id for row in rows}) == 1797


def test_a_range_is_that_slice_also_after_pickling() -> None:
    source = pickle.loads(pickle.dumps(DigitsSource()))
    (one,) = source.read(1000, 1001)
    assert one.id == "digits-1000"
    assert np.array_equal(one.image, DigitsSource().read(999, 1002)[1].image)
