"""Fixed-size calls: every call has the same size, and no row is lost, repeated or mixed up."""

import pytest
import torch
from torch import Tensor

from pipeline.fixed_batch import in_fixed_batches


@pytest.mark.parametrize("num_rows", [1, 4, 5, 8, 11])
def test_each_call_has_the_fixed_size_and_rows_keep_their_order(num_rows: int) -> None:
    sizes = []

    def function(a: Tensor, b: Tensor) -> Tensor:
        sizes.append(a.shape[0])
        assert b.shape[0] == a.shape[0]
        return 10 * a + b[:, None]

    a = torch.arange(2 * num_rows).reshape(num_rows, 2)
    b = torch.arange(num_rows)
    result = in_fixed_batches(function, a, b, rows_per_call=4)
    assert torch.equal(result, 10 * a + b[:, None])
    assert set(sizes) == {4}
    assert len(sizes) == -(-num_rows // 4)


def test_no_rows_and_unequal_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="same positive number"):
        in_fixed_batches(lambda a: a, torch.zeros(0, 2), rows_per_call=4)
    with pytest.raises(ValueError, match="same positive number"):
        in_fixed_batches(lambda a, b: a + b, torch.zeros(3, 2), torch.zeros(2, 2), rows_per_call=4)
