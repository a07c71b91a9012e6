"""The levels of the chain: what every schedule must keep, whatever the stages and layers."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chain.schedule import (
    Schedule,
    Stage,
    build_schedule,
    geometric_sigmas,
    karras_sigmas,
    split_layers,
)


@st.composite
def stage_lists(draw: st.DrawFn) -> tuple[Stage, ...]:
    num = draw(st.integers(1, 4))
    side = draw(st.integers(1, 16))
    ratios = draw(st.lists(st.floats(1.06, 1e4), min_size=num, max_size=num))
    sigmas = [1e-3]
    for ratio in ratios:
        sigmas.insert(0, sigmas[0] * ratio)
    levels = enumerate(pairwise(sigmas))
    return tuple(Stage(side * 2**i, high, low) for i, (high, low) in levels)


@st.composite
def stages_and_layers(draw: st.DrawFn) -> tuple[tuple[Stage, ...], tuple[int, ...]]:
    stages = draw(stage_lists())
    counts = [draw(st.integers(1, 12)) for _ in stages]
    counts[-1] += 1
    return stages, tuple(counts)


@given(stages_and_layers(), st.sampled_from([None, 1.0, 7.0]))
def test_every_schedule_falls_to_the_picture_through_the_stages_levels(
    drawn: tuple[tuple[Stage, ...], tuple[int, ...]], rho: float | None
) -> None:
    stages, counts = drawn
    schedule = build_schedule(stages, counts, rho=rho)
    assert schedule.num_layers == sum(counts) == len(schedule.layers)
    assert schedule.sigmas[0] == stages[0].sigma_high
    assert schedule.sigmas[-2] == stages[-1].sigma_low
    assert schedule.sigmas[-1] == 0
    assert all(a > b for a, b in pairwise(schedule.sigmas))
    assert schedule.sides[0] == stages[0].side
    assert schedule.sides[-1] == stages[-1].side
    for s, stage in enumerate(stages):
        mine = [layer for layer in schedule.layers if layer.stage == s]
        assert len(mine) == counts[s]
        assert mine[0].sigma_from == stage.sigma_high
        assert all(layer.side_from == stage.side for layer in mine)
        last = s == len(stages) - 1
        assert mine[-1].sigma_to == (0 if last else stage.sigma_low)
        assert [layer.changes_resolution for layer in mine] == [False] * (counts[s] - 1) + [
            not last
        ]
    assert [layer.index for layer in schedule.layers] == list(range(1, sum(counts) + 1))


@given(stage_lists(), st.integers(0, 300))
def test_split_layers_sums_to_the_total_and_makes_a_schedule(
    stages: tuple[Stage, ...], extra: int
) -> None:
    total = len(stages) + 1 + extra
    counts = split_layers(stages, total)
    assert sum(counts) == total
    assert min(counts) >= 1
    assert build_schedule(stages, counts).num_layers == total


def test_split_layers_follows_the_spans_in_log_sigma() -> None:
    stages = (Stage(7, 1000, 10), Stage(14, 10, 1), Stage(28, 1, 0.01))
    assert split_layers(stages, 50) == (20, 10, 20)


def test_split_layers_never_takes_a_stages_only_layer() -> None:
    # the middle stage's share of 4 layers is 2.6, and yet each stage needs its own
    stages = (Stage(1, 110.0, 100.0), Stage(2, 100.0, 1e-2), Stage(4, 1e-2, 5e-3))
    assert split_layers(stages, 4) == (1, 1, 2)


def test_levels_of_equal_ratio_are_the_limit_of_a_large_rho() -> None:
    geometric = geometric_sigmas(80, 0.02, 10)
    np.testing.assert_allclose(geometric[1:] / geometric[:-1], (0.02 / 80) ** 0.1)
    np.testing.assert_allclose(karras_sigmas(80, 0.02, 10, rho=1e6), geometric, rtol=1e-4)


def test_karras_levels_are_even_in_the_rho_th_root() -> None:
    sigmas = karras_sigmas(80, 0.002, 17)
    assert (sigmas[0], sigmas[-1]) == (80, 0.002)
    steps = np.diff(sigmas ** (1 / 7))
    np.testing.assert_allclose(steps, steps[0])


def test_a_training_range_overlaps_its_neighbours_by_a_tenth_of_its_span() -> None:
    low, high = Stage(8, 10.0, 0.1).training_range()
    assert math.log10(high) == pytest.approx(1.2)
    assert math.log10(low) == pytest.approx(-1.2)


@pytest.mark.parametrize(
    ("stages", "layers", "message"),
    [
        ([Stage(4, 2, 1)], [3, 3], "1 stages need 1 layer counts"),
        ([Stage(4, 2, 1)], [1], "the last one 2"),
        ([Stage(2, 9, 2), Stage(4, 2, 1)], [0, 3], "at least"),
        ([Stage(2, 9, 2), Stage(6, 2, 1)], [3, 3], "does not continue"),
        ([Stage(2, 9, 3), Stage(4, 2, 1)], [3, 3], "does not continue"),
    ],
)
def test_stages_and_layers_that_do_not_fit_are_refused(
    stages: list[Stage], layers: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_schedule(stages, layers)


@pytest.mark.parametrize(
    ("sigmas", "sides", "message"),
    [
        ((2.0, 2.0, 0.0), (4, 4, 4), "fall strictly"),
        ((2.0, 1.0, -1.0), (4, 4, 4), "fall strictly"),
        ((2.0, 1.0, 0.0), (2, 4, 16), "keeps the resolution or doubles it"),
        ((2.0, 1.0, 0.0), (4, 2, 2), "keeps the resolution or doubles it"),
        ((2.0, 1.0, 0.0), (4, 4), "same length"),
    ],
)
def test_levels_that_are_no_chain_are_refused(
    sigmas: tuple[float, ...], sides: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(sigmas, sides, (0,) * len(sigmas))


def test_fewer_layers_than_stages_need_are_refused() -> None:
    with pytest.raises(ValueError, match="2 stages need 3 layers"):
        split_layers((Stage(2, 9, 2), Stage(4, 2, 1)), 2)


@pytest.mark.parametrize(("high", "low"), [(1, 1), (1, 2), (1, 0)])
def test_a_stage_whose_noise_does_not_fall_is_refused(high: float, low: float) -> None:
    with pytest.raises(ValueError, match="sigma_high > sigma_low > 0"):
        Stage(8, high, low)
