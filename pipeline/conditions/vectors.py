"""What conditions of vectors share: how values are checked, and examples of them."""

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError


def read_vectors(values: np.ndarray, shape: tuple[int, ...], what: str) -> Tensor:
    """Values of a dataset or a request as float32 ``[N, *shape]``.

    Args:
        values: floats.
        shape: of one row.
        what: the words for a row, in messages.

    Raises:
        UserError: rows of another shape, or with a value that is not finite.
    """
    values = np.asarray(values)
    if values.shape[1:] != shape or not np.issubdtype(values.dtype, np.floating):
        due, got = " × ".join(map(str, shape)), " × ".join(map(str, values.shape[1:]))
        raise UserError(
            f"{what} has {got or 'no'} numbers of type {values.dtype}, and the model takes {due} "
            "floats; embed with the encoder that it was trained with"
        )
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(1)))
        raise UserError(f"{what} of row {row} has values that are not finite; embed anew")
    return torch.tensor(values, dtype=torch.float32)


def example_vectors(shape: tuple[int, ...]) -> np.ndarray:
    """Keyed directions, float32 of a shape: vectors of unit length along the last axis."""
    drawn = np.random.default_rng(20260101).standard_normal(shape)
    unit: np.ndarray = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    return unit.astype(np.float32)
