"""A sample's way up the stack: which levels are shown, and that they are those of the sample."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chain.haar import low_pass_to
from pipeline.chain.schedule import Schedule, Stage, build_schedule
from pipeline.conditions import ConditionSpec
from pipeline.pictures import from_signed
from pipeline.plots.trajectory import (
    choose_levels,
    displayed,
    record_trajectory,
    sigma_text,
)
from pipeline.sampling import SamplingOptions, sample
from pipeline.stack import Stack
from pipeline.stack_spec import StackSpec

STAGES = (Stage(7, 100.0, 4.0), Stage(14, 4.0, 1.0), Stage(28, 1.0, 0.01))


def changes(schedule: Schedule) -> list[int]:
    return [t for t, (a, b) in enumerate(pairwise(schedule.sides), 1) if a != b]


@settings(deadline=None)
@given(
    layers=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(2, 40)),
    most=st.integers(1, 20),
)
def test_noise_picture_and_changes_of_resolution_are_always_shown_and_the_rest_is_even(
    layers: tuple[int, int, int], most: int
) -> None:
    schedule = build_schedule(STAGES, layers)
    chosen = choose_levels(schedule, most)
    fixed = {0, *changes(schedule), schedule.num_layers}
    assert fixed <= set(chosen)
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) == min(schedule.num_layers + 1, max(most, len(fixed)))
    # no two that are free to move lie so far apart that one fewer elsewhere would have served
    for start, stop in pairwise(sorted(fixed)):
        gaps = np.diff([t for t in chosen if start <= t <= stop])
        assert gaps.max() - gaps.min() <= 1


def test_a_short_chain_is_shown_whole_and_a_long_one_as_listed() -> None:
    assert choose_levels(build_schedule(STAGES, (2, 2, 3)), 12) == tuple(range(8))
    chosen = choose_levels(build_schedule(STAGES, (10, 10, 20)), 9)
    assert chosen == (0, 5, 10, 15, 20, 25, 30, 35, 40)


def test_a_clean_picture_is_shown_as_it_is_at_every_resolution() -> None:
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert np.array_equal(displayed(x, 0.0, 1), from_signed(x))
    # the orthonormal low-pass of a constant picture is 2^k times as bright; shown, it is as before
    flat = torch.full((1, 1, 8, 8), 0.4)
    assert np.array_equal(displayed(low_pass_to(flat, 2), 0.0, 4), from_signed(flat)[:, :2, :2])


@pytest.mark.parametrize("sigma", [1.0, 8.0, 100.0])
def test_pure_noise_seldom_reaches_black_or_white(sigma: float) -> None:
    noise = sigma * torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(1))
    shown = displayed(noise, sigma, 1)
    assert np.isin(shown, (0, 255)).mean() < 0.05
    assert shown.std() > 50  # and is no grey soup


@pytest.fixture(scope="module")
def stack() -> Stack:
    torch.manual_seed(0)
    made = Stack(
        StackSpec(
            shape=(8, 8, 1),
            classes=("zero", "one"),
            condition=ConditionSpec("label", 2),
            stages=(Stage(4, 80.0, 1.0), Stage(8, 1.0, 0.01)),
            sigma_data=(1.0, 1.0),
            tau2=(((0.1,),) * 3,),
            network="nested",
            widths=(8, 8),
            blocks=(1, 1),
            embedding=8,
            dropout=0.0,
            rows_per_call=4,
            layers=(5, 7),
        )
    )
    return made.eval()


def test_the_recorded_levels_are_those_of_the_schedule_and_end_in_the_sample(stack: Stack) -> None:
    seeds, indices, labels = np.full(4, 9), np.arange(4), np.array([0, 1, -1, 1])
    options = SamplingOptions(layers=(3, 6))
    way = record_trajectory(stack, seeds, indices, labels, options, most=6)
    schedule = build_schedule(stack.spec.stages, (3, 6))
    assert way.names == ("zero", "one", "", "one")
    assert way.num_layers == 9
    assert tuple(level.t for level in way.levels) == choose_levels(schedule, 6)
    for level in way.levels:
        assert level.sigma == schedule.sigmas[level.t]
        assert level.size == (schedule.sides[level.t],) * 2
    drawn = sample(stack, seeds, indices, labels, options)
    assert np.array_equal(way.levels[-1].images, drawn)


@pytest.mark.parametrize(
    ("sigma", "text"),
    [(80.0, "80"), (4.21, "4.2"), (1.0, "1.0"), (0.3214, "0.32"), (0.0021, "0.0021"), (0.0, "0")],
)
def test_noise_levels_are_written_with_two_digits(sigma: float, text: str) -> None:
    assert sigma_text(sigma) == text
    assert math.isclose(float(text), sigma, rel_tol=0.03, abs_tol=1e-9)
