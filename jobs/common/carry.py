"""What one pool of a chain hands to the next: arrays by name, as bytes without pickle."""

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Carry = dict[str, NDArray[np.generic]]


def to_bytes(carry: Mapping[str, NDArray[np.generic]]) -> bytes:
    """The names, then the arrays in their order, each in the .npy format; never empty.

    Raises:
        ValueError: for arrays of Python objects, which only pickle could hold.
    """
    stream = io.BytesIO()
    for array in (np.array(list(carry), dtype=np.str_), *carry.values()):
        np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def from_bytes(data: bytes) -> Carry:
    """The arrays that `to_bytes` was given."""
    stream = io.BytesIO(data)
    names = np.load(stream, allow_pickle=False)
    return {str(name): np.load(stream, allow_pickle=False) for name in names}
