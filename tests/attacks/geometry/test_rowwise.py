"""Sums of rows do not depend on the number of rows, with several threads neither."""

from collections.abc import Iterator

import pytest
import torch

from pipeline.attacks.geometry.rowwise import row_dot


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("size", [7, 3_000, 150_528])
def test_a_row_by_itself_has_the_bits_that_it_has_among_others(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, size, generator=generator)
    together = row_dot(a, b)
    for n in range(5):
        assert torch.equal(row_dot(a[n : n + 1], b[n : n + 1]), together[n : n + 1])
    torch.testing.assert_close(together, (a.double() * b).sum(dim=1).float(), rtol=1e-4, atol=1e-3)
