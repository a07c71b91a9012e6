"""Fixed-size calls: every call has the same size, and no row is lost, repeated or mixed up."""

import pytest
import torch
from torch import Tensor

from pipeline.fixed_batch import call_sizes, in_fixed_batches


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


@pytest.mark.parametrize(
    ("num_rows", "sizes"),
    [
        (64, [64]),
        (130, [64, 64, 8]),
        (3, [8]),
        (9, [16]),  # two calls of 8 would be as many rows and a call more
        (36, [8, 32]),
        (60, [64]),
    ],
)
def test_what_fills_no_whole_call_is_cut_to_cost_least(num_rows: int, sizes: list[int]) -> None:
    assert call_sizes(num_rows, 64, (32, 16, 8)) == sizes


def test_without_smaller_calls_all_are_of_the_one_size() -> None:
    assert call_sizes(130, 64) == [64, 64, 64]
    assert call_sizes(0, 64) == []


def test_rows_keep_their_order_in_calls_of_several_sizes() -> None:
    seen = []

    def function(a: Tensor) -> Tensor:
        seen.append(a.shape[0])
        return 10 * a

    a = torch.arange(100)
    result = in_fixed_batches(function, a, rows_per_call=64, smaller=(32, 16, 8))
    assert torch.equal(result, 10 * a)
    assert seen == [64, 8, 32]
