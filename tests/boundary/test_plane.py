"""Planes and maps: exact geometry, exact decisions of a linear classifier."""

import numpy as np
import pytest
import torch
from linear_models import TwoClassLinear

from pipeline.boundary.decision_map import Window, decision_map
from pipeline.boundary.plane import plane_along, plane_through
from pipeline.boundary.rule import DecisionRule
from pipeline.errors import UserError

SHAPE = (1, 6, 6)


def picture(seed: int) -> torch.Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))


def test_a_plane_is_orthonormal_keyed_and_keeps_lengths():
    x, direction = picture(0), picture(1) - 0.5
    plane = plane_along(x, direction, seed=4, row=7)
    assert float(plane.across.norm()) == pytest.approx(1)
    assert float(plane.up.norm()) == pytest.approx(1)
    assert float((plane.across * plane.up).sum()) == pytest.approx(0, abs=1e-12)
    point = plane.points(torch.tensor([3.0]), torch.tensor([-4.0]))[0]
    assert float((point - x).norm()) == pytest.approx(5, rel=1e-5)
    assert plane.coordinates(point) == pytest.approx((3, -4), rel=1e-5)
    again, other = (plane_along(x, direction, seed=4, row=row) for row in (7, 8))
    assert torch.equal(again.up, plane.up)
    assert not torch.allclose(other.up, plane.up)


def test_a_plane_through_three_pictures_holds_them():
    pictures = [picture(seed) for seed in (2, 3, 4)]
    plane = plane_through(*pictures)
    coordinates = [plane.coordinates(x) for x in pictures]
    assert coordinates[0] == (0, 0)
    assert coordinates[1][1] == pytest.approx(0, abs=1e-9)
    for x, (a, b) in zip(pictures, coordinates, strict=True):
        torch.testing.assert_close(plane.points(torch.tensor([a]), torch.tensor([b]))[0], x)
    for degenerate in (
        (pictures[0], pictures[1], (pictures[0] + pictures[1]) / 2),
        (pictures[0], pictures[0], pictures[1]),
        (pictures[0], pictures[1], pictures[0]),
    ):
        with pytest.raises(UserError, match="one line"):
            plane_through(*degenerate)


def test_a_map_of_a_linear_classifier_is_its_half_plane_at_every_point():
    weight = picture(5) - 0.5
    model = TwoClassLinear(weight, 0.1)
    plane = plane_along(picture(6), picture(7) - 0.5, seed=0, row=0)
    window = Window.around_origin(3.0, 21)
    drawn = decision_map(DecisionRule.of_logits(model, 50).decide, plane, window, row=0)
    slope = [float((part * weight.double()).sum()) for part in (plane.across, plane.up)]
    start = float(model.margin(picture(6)[None])[0])
    margin = start + slope[0] * drawn.across[None, :] + slope[1] * drawn.up[:, None]
    clear = np.abs(margin) > 1e-5
    assert (drawn.classes == (margin > 0))[clear].all()
    assert clear.sum() > 430
    assert drawn.across[[0, 10, 20]].tolist() == [-3, 0, 3]
    label = int(start > 0)
    assert drawn.share_of(label) == pytest.approx((margin * (2 * label - 1) > 0).mean(), abs=0.01)
    # The nearest point of a half-plane is at |m| / ||slope||, up to the points' spacing of 0.3.
    exact = abs(start) / np.hypot(*slope)
    assert exact <= drawn.nearest_other(label) <= exact + 0.3 * np.sqrt(2)
