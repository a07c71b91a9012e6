"""What travels between the pools of a chain comes out as it went in, and without pickle."""

import numpy as np
import pytest

from jobs.common.carry import from_bytes, to_bytes


def test_arrays_of_any_kind_come_out_as_they_went_in() -> None:
    rng = np.random.default_rng(0)
    sent = {
        "z": rng.standard_normal((2, 3, 4, 4), dtype=np.float32),
        "transposed": rng.standard_normal((3, 5)).T,
        "labels": np.array([3, -1, 2**40]),
        "captions": np.array(["a cat", "zwölf Hündchen"]),
        "file": np.array(1.5),
        "none": np.empty((0, 7), np.uint8),
    }
    came = from_bytes(to_bytes(sent))
    assert list(came) == list(sent)
    for name, array in sent.items():
        assert came[name].dtype == array.dtype
        np.testing.assert_array_equal(came[name], array)


def test_no_arrays_are_something_too() -> None:
    assert to_bytes({})
    assert from_bytes(to_bytes({})) == {}


def test_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        to_bytes({"bad": np.array([{}], dtype=object)})
