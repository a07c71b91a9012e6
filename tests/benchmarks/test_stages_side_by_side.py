"""The figure of `benchmarks.stages_side_by_side`, on clocks that are made up."""

import pytest

from benchmarks.stages_side_by_side import Progress, gain

ALONE = (Progress((20, 60), (0.0, 40.0)), Progress((20, 60), (50.0, 90.0)))  # a second a step


def test_two_stages_that_do_not_slow_each_other_gain_a_factor_of_two_however_apart_they_begin() -> (
    None
):
    apart = (Progress((20, 40, 60), (0.0, 20.0, 40.0)), Progress((20, 40, 60), (7.0, 27.0, 47.0)))
    assert gain(apart, ALONE) == pytest.approx(2.0)


def test_only_the_time_in_which_both_train_counts() -> None:
    # The first takes two seconds a step beside the second, and one before it begins.
    slowed = (Progress((20, 40, 60), (0.0, 20.0, 60.0)), Progress((20, 60), (20.0, 100.0)))
    assert gain(slowed, ALONE) == pytest.approx(1.0)
