"""What the benchmark of certified accuracy makes of certificates."""

import numpy as np
import pytest

from benchmarks.certify_quality import MADE, RADII, Made, figures_of, right_at, table, targets_of
from pipeline.intervals import clopper_pearson
from pipeline.smoothing.certifier import CertificateRows

LABELS = np.array([0, 1, 2, 2])


def some_rows() -> CertificateRows:
    """Right to 0.7, right but abstained, wrong to 2, right to 0.25."""
    return CertificateRows(
        predicted=np.array([0, 1, 0, 2]),
        n0_counts=np.zeros((4, 3), np.int32),
        n=np.array([90, 50, 200, 60]),
        n_a=np.array([89, 25, 199, 50]),
        p_lower=np.array([0.9, 0.4, 0.99, 0.6]),
        radius=np.array([0.7, 0.0, 2.0, 0.25]),
        abstained=np.array([False, True, False, False]),
        draws=np.array([190, 150, 300, 160]),
    )


def test_a_row_counts_where_its_label_is_certified_and_nowhere_else():
    found = [right_at(some_rows(), LABELS, radius) for radius in (1e-6, 0.25, 0.5, 1.0)]
    assert found == [2, 2, 1, 0]


def test_each_figure_has_its_interval_and_a_miss_is_said():
    made = {"one": Made(0.5, "config", (), {"r0": 50.0, "r05": 30.0})}
    figures = figures_of("one", some_rows(), LABELS, {"r0": RADII["r0"], "r05": RADII["r05"]})
    low, high = clopper_pearson(2, 4)
    assert figures["certified_one_r0_percent"] == 50.0
    assert figures["certified_one_r0_interval_percent"] == pytest.approx(
        [100 * low, 100 * high], abs=0.01
    )
    assert figures["draws_a_row_one"] == 200.0
    first, second = table(made, figures)
    assert "sigma 0.5" in first
    assert first.endswith("at least 50.0: met")
    assert second.endswith("at least 30.0: MISSED")
    assert targets_of(made).keys() <= figures.keys()


def test_every_target_is_of_a_radius_that_is_asked():
    assert all(one.targets.keys() <= RADII.keys() for one in MADE.values())
