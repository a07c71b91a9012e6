"""Draws keyed by row: whoever holds a row sees the same numbers for it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.draws import RowDraws, choose_evenly, share_of_batch

KEY = (7, 3, 1)


def drawn(rows: range, total: int = 100, key: tuple[int, ...] = KEY) -> list[torch.Tensor]:
    """One of each kind, in this order."""
    draws = RowDraws(key, rows, total)
    kept = draws.dropout_mask(5, 0.3)
    assert kept is not None
    return [draws.strata(), draws.normal(1, 3, 2), draws.uniform(), kept]


@given(st.integers(0, 99), st.integers(1, 100))
def test_a_rows_numbers_do_not_depend_on_the_rows_beside_it(start: int, length: int) -> None:
    rows = range(start, min(100, start + length))
    whole = drawn(range(100))
    for ours, theirs in zip(drawn(rows), whole, strict=True):
        assert torch.equal(ours, theirs[rows.start : rows.stop])


def test_other_keys_draw_other_numbers() -> None:
    keys = [(7, 3, 1), (7, 3, 2), (7, 4, 1), (8, 3, 1), (-1, 3, 1), (2**63 - 1, 3, 1)]
    firsts = {float(drawn(range(100), key=key)[1][50, 0, 0, 0]) for key in keys}
    assert len(firsts) == len(keys)


def test_normal_and_uniform_draws_have_their_moments() -> None:
    num = 4000
    draws = RowDraws(KEY, range(num), num)
    normal, uniform = draws.normal(25), draws.uniform(25)
    count = normal.numel()
    assert abs(float(normal.mean())) < 5 / math.sqrt(count)
    assert abs(float(normal.square().mean()) - 1) < 5 * math.sqrt(2 / count)
    assert abs(float(uniform.mean()) - 0.5) < 5 / math.sqrt(12 * count)
    # neighbouring rows lie in one tile and in two: neither are correlated
    pairs = (normal[1:] * normal[:-1]).mean()
    assert abs(float(pairs)) < 5 / math.sqrt(count)


def test_strata_hold_one_draw_in_each_rows_own_part() -> None:
    strata = RowDraws(KEY, range(40, 60), 80).strata()
    edges = torch.arange(40, 61) / 80
    assert bool(((strata >= edges[:-1]) & (strata <= edges[1:])).all())


def test_dropout_keeps_its_share_and_the_mean() -> None:
    kept = RowDraws(KEY, range(4000), 4000).dropout_mask(20, 0.25)
    assert kept is not None
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    count = kept.numel()
    assert abs(float((kept == 0).float().mean()) - 0.25) < 5 * math.sqrt(0.25 * 0.75 / count)
    assert RowDraws(KEY, range(4), 4).dropout_mask(20, 0.0) is None


@given(st.integers(1, 300), st.integers(1, 20))
def test_workers_share_a_batch_without_gaps_and_evenly(batch_size: int, workers: int) -> None:
    parts = [share_of_batch(batch_size, worker, workers) for worker in range(workers)]
    assert [row for part in parts for row in part] == list(range(batch_size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.floats(0.001, 1.0), st.integers(1, 300), st.integers(1, 20))
def test_a_stages_rows_are_its_share_of_the_batch_spread_over_the_workers(
    share: float, batch_size: int, workers: int
) -> None:
    chosen: list[int] = []
    numbers: list[int] = []
    counts = []
    for worker in range(workers):
        rows = share_of_batch(batch_size, worker, workers)
        own, ranks, total = choose_evenly(share, rows, batch_size)
        assert total == max(1, round(share * batch_size))
        assert len(own) == len(ranks)
        chosen += [rows.start + row for row in own]
        numbers += ranks
        counts.append(len(own))
    assert numbers == list(range(total))
    assert len(set(chosen)) == total
    assert max(counts) - min(counts) <= 2
