"""Clopper-Pearson intervals against their closed forms and their promise."""

import numpy as np
import pytest
from scipy.stats import binom

from pipeline.intervals import clopper_pearson, clopper_pearson_band


@pytest.mark.parametrize("trials", [1, 7, 360])
def test_the_ends_have_closed_forms_where_all_or_none_succeed(trials: int) -> None:
    low, high = clopper_pearson(trials, trials)
    assert high == 1
    assert low == pytest.approx(0.025 ** (1 / trials))
    low, high = clopper_pearson(0, trials)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / trials))


def test_each_end_leaves_half_of_five_percent_in_its_tail() -> None:
    low, high = clopper_pearson(13, 40)
    assert binom.sf(12, 40, low) == pytest.approx(0.025, rel=1e-6)
    assert binom.cdf(13, 40, high) == pytest.approx(0.025, rel=1e-6)


def test_a_higher_level_gives_a_wider_interval() -> None:
    low, high = clopper_pearson(13, 40)
    lower, higher = clopper_pearson(13, 40, level=0.99)
    assert lower < low < 13 / 40 < high < higher


def test_many_intervals_at_once_are_those_of_one_at_a_time() -> None:
    for trials in (1, 7, 500):
        counts = np.arange(trials + 1)
        low, high = clopper_pearson_band(counts, trials)
        due = [clopper_pearson(int(count), trials) for count in counts]
        assert np.allclose(np.stack([low, high], axis=1), due, rtol=0, atol=1e-9)
