"""The page of distances says what the figures say."""

import numpy as np
import pytest

from pipeline.boundary.figures import figures_of
from pipeline.boundary.survey import Survey
from pipeline.plots.boundary_measures import measures_figure

WAYS = ("along_adversarial", "along_gradient", "predicted", "along_random")  # left to right


def survey() -> Survey:
    """Four rows, all right, of which one meets no boundary down the gradient."""
    four = np.arange(4)
    return Survey(
        rows=four,
        label=four,
        answer=four,
        margin=np.ones(4),
        predicted=np.array([0.3, 0.5, 0.7, 0.9]),
        along_gradient=np.array([0.4, 0.6, 0.8, np.inf]),
        along_adversarial=np.array([0.2, 0.4, 0.5, 0.6]),
        along_random=np.array([[2.0], [np.inf], [np.inf], [np.inf]]),
        lengths=np.array([1.0]),
        linear_gradient=np.zeros((4, 1)),
        linear_random=np.zeros((4, 1, 1)),
        random_right=np.ones((4, 1, 2), bool),
        chosen_distance=np.array([0.2, 0.4, 0.5, 0.6]),
    )


def test_the_line_in_a_box_is_the_median_that_is_told_and_missing_where_it_lies_beyond():
    one = survey()
    told = figures_of(one)["median_distance"]
    assert [told[way] for way in WAYS] == [0.4, 0.6, 0.5, None]
    axes = measures_figure([("natural", one)], "a title").axes[0]
    drawn = [
        line.get_ydata()[0]
        for line in axes.lines
        if line.get_color() == "black"
        and line.get_linestyle() == "-"
        and len(line.get_xdata()) == 2
        and np.ptp(line.get_xdata()) > 0.5
    ]
    assert drawn == pytest.approx([0.4, 0.6, 0.5, np.nan], nan_ok=True)
