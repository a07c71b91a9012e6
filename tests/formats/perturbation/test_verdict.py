"""The threshold of a verdict: a share of the logits' own spread, whatever their size."""

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.formats.perturbation.verdict import (
    SHARE,
    logit_spread,
    stated_threshold,
    threshold_of,
)
from pipeline.perturbation_terms import MARGIN

LOGITS = np.random.default_rng(0).normal(size=(33, 10)).astype(np.float32) * 4


def test_the_spread_is_the_median_of_the_highest_less_the_middle_logit() -> None:
    rows = np.array([[5.0, 1.0, 2.0], [9.0, 3.0, 4.0], [0.0, -8.0, -1.0]], np.float32)
    assert logit_spread(rows) == 3.0  # of 3, 5 and 1


@pytest.mark.parametrize("power", [-100, -17, 17, 100])
def test_the_threshold_grows_as_the_logits_do(power: int) -> None:
    scaled = LOGITS * np.float32(2.0**power)
    assert threshold_of(scaled) == 2.0**power * threshold_of(LOGITS)
    assert threshold_of(LOGITS) == SHARE * logit_spread(LOGITS)


def test_a_masked_class_is_no_measure() -> None:
    masked = LOGITS.copy()
    masked[:, 7] = -1e9
    assert threshold_of(masked) == pytest.approx(threshold_of(LOGITS), rel=0.2)


def test_it_exceeds_what_float32_rounds_away_of_raised_logits() -> None:
    """Differences of float32 numbers near 500 come in steps of 2**-15."""
    raised = LOGITS + np.float32(500)
    assert threshold_of(raised) > 8 * 2.0**-15
    assert threshold_of(raised) < 4 * threshold_of(LOGITS)


@pytest.mark.parametrize(
    ("logits", "told"),
    [
        (np.ones((8, 10), np.float32), "gives all classes the same logit"),
        (LOGITS + np.float32(1e6), "float32 keeps too few digits; subtract their mean"),
    ],
)
def test_logits_that_decide_nothing_are_refused(logits: np.ndarray, told: str) -> None:
    with pytest.raises(UserError, match=told):
        threshold_of(logits)


def test_a_set_without_a_threshold_has_a_thousandth_of_a_logit() -> None:
    assert stated_threshold({}) == MARGIN == 1e-3
    assert stated_threshold({"threshold": 0.5}) == 0.5
