"""The curve of a certificate set, and the interval around it."""

import numpy as np
import pytest
from scipy.stats import binomtest

from pipeline.plots.certified import CertifiedFigures, certified_figure


def test_the_interval_is_that_of_the_share_right_up_to_the_radius_at_which_it_falls():
    radii = [0.1, 0.3, 0.3, 0.4]  # of the rows that are right, and six are not
    millionths = np.array([-1] * 6 + [round(1e6 * radius) for radius in radii])
    figures = CertifiedFigures({"radii": [], "ceiling": 0.7, "sigma": 0.25}, millionths)
    (axes,) = certified_figure(figures, "a title").get_axes()
    (band,) = axes.collections
    outline = band.get_paths()[0]
    for radius, right in ((0.05, 4), (0.0999, 4), (0.1001, 3), (0.2999, 3), (0.3001, 1)):
        theirs = binomtest(right, 10).proportion_ci(method="exact")
        for bound in (theirs.low, theirs.high):
            inside = outline.contains_point((radius, bound - 1e-3)) != outline.contains_point(
                (radius, bound + 1e-3)
            )
            assert inside, (radius, bound)
    assert axes.lines[0].get_ydata() == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0])


def test_the_interval_goes_as_far_as_was_asked_beyond_the_largest_radius():
    figures = CertifiedFigures({"radii": [0.5, 0.6], "sigma": 0.25}, np.array([-1, 500_000]))
    (axes,) = certified_figure(figures, "a title").get_axes()
    (band,) = axes.collections
    outline = band.get_paths()[0].vertices
    beyond = outline[outline[:, 0] == 0.6]
    theirs = binomtest(0, 2).proportion_ci(method="exact")
    assert beyond[:, 1].min() == 0
    assert beyond[:, 1].max() == pytest.approx(theirs.high)
