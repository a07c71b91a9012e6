"""Distances to a boundary that is known in closed form, straight and within the box."""

import math

import numpy as np
import pytest
import torch
from linear_models import TwoClassLinear, classifier_with_margin
from torch import Tensor

from pipeline.boundary.directions import adversarial, random_directions, slope_at, unit
from pipeline.boundary.distance import InBox, Straight, first_crossings
from pipeline.boundary.noise_length import noise_lengths
from pipeline.boundary.rule import DecisionRule
from pipeline.errors import UserError

SHAPE = (2, 4, 5)


class Ball:
    """Logits ``(0, R² - ||x - c||²)``: class 1 within a ball of radius R."""

    def __init__(self, centre: Tensor, radius: float) -> None:
        self.centre, self.radius = centre, radius

    def __call__(self, x: Tensor) -> Tensor:
        inner = self.radius**2 - (x - self.centre).flatten(1).square().sum(dim=1)
        return torch.stack((torch.zeros_like(inner), inner), dim=1)


def crossings(model, x, directions, **how):
    """First crossings of straight lines from x ``[N, ...]`` in directions ``[N, D, ...]``."""
    count = directions.shape[1]
    each = torch.arange(len(x)).repeat_interleave(count)
    decide = DecisionRule.of_logits(model, 64).decide
    found = first_crossings(
        lambda points, lines: decide(points, each[lines]),
        Straight(x[each], directions.flatten(0, 1)),
        torch.ones(len(each), dtype=torch.int64),
        **{"near": 1e-2, "far": 50.0, "tolerance": 1e-5, "fill": 64, "growth": 1.5, **how},
    )
    return found.distance.reshape(len(x), count), found.beyond.reshape(len(x), count)


def test_the_distance_to_a_linear_boundary_is_margin_over_slope_in_every_direction():
    model, x, _ = classifier_with_margin(0.7)
    directions = random_directions(3, torch.arange(2), 20, SHAPE)
    distance, beyond = crossings(model, x, directions)
    slope = (directions.double() * model.weight.double()).sum(dim=(2, 3, 4))
    exact = torch.where(slope < 0, 0.7 / -slope, torch.inf)
    met = exact < 50
    assert 10 < int(met.sum()) < 40
    torch.testing.assert_close(distance[met], exact[met], rtol=3e-5, atol=0)
    assert bool(distance[~met].isinf().all())
    assert beyond[met].unique().tolist() == [0]
    assert beyond[~met].unique().tolist() == [-1]


def test_the_gradient_leads_to_a_linear_boundary_on_the_shortest_way_and_so_does_the_attack():
    model, x, y = classifier_with_margin(2.0)
    rows = torch.arange(2)
    slope = slope_at(model, x, y, rows, 8)
    exact = 2.0 / float(model.weight.double().norm())
    assert slope.rival.tolist() == [0, 0]
    torch.testing.assert_close(
        slope.predicted_distance(), torch.full((2,), exact).double(), rtol=1e-4, atol=0
    )
    distance, _ = crossings(model, x, slope.descent[:, None])
    torch.testing.assert_close(distance, torch.full((2, 1), exact).double(), rtol=1e-4, atol=0)
    found = adversarial(model, x, y, rows, steps=60, seed=0, rows_per_call=8)
    cosine = (found.direction * slope.descent).flatten(1).sum(dim=1)
    assert bool((cosine > 0.99).all())
    distance, _ = crossings(model, x, found.direction[:, None])
    assert bool((distance.flatten() < 1.01 * exact).all())
    assert bool((distance.flatten() <= found.length).all())  # which was rounded to whole levels


def test_the_distance_to_a_quadratic_boundary_is_its_root_and_the_tolerance_bounds_the_error():
    centre = torch.full(SHAPE, 0.5)
    model = Ball(centre, 2.0)
    x = centre + 1.2 * random_directions(5, torch.arange(3), 1, SHAPE)[:, 0]
    directions = random_directions(6, torch.arange(3), 12, SHAPE)
    # ||x - c + t u|| = R: t = -p + sqrt(p² + R² - ||x - c||²), p = <x - c, u>
    way = (x - centre).double()
    p = (way[:, None] * directions.double()).sum(dim=(2, 3, 4))
    exact = -p + (p**2 + 4.0 - 1.2**2).sqrt()
    for tolerance in (1e-2, 1e-5):
        distance, beyond = crossings(model, x, directions, tolerance=tolerance)
        assert bool((distance >= exact * (1 - 3e-6)).all())
        assert bool((distance <= exact * (1 + tolerance + 3e-6)).all())
        assert bool((beyond == 0).all())


def test_a_way_that_comes_back_is_met_at_its_first_crossing_and_a_thin_strip_is_passed_over():
    def answer(points: Tensor, lines: Tensor) -> Tensor:
        t = points[:, 0, 0, 0].double()
        return ((t > 1) & (t < 2) | (t > 3)).long()

    path = Straight(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    own = torch.zeros(1, dtype=torch.int64)
    found = first_crossings(answer, path, own, near=0.1, far=10, growth=1.5, tolerance=1e-6)
    assert found.distance.item() == pytest.approx(1, rel=2e-6)
    found = first_crossings(answer, path, own, near=0.9, far=10, growth=2.4, tolerance=1e-6)
    assert found.distance.item() == pytest.approx(3, rel=2e-6)  # 0.9, 2.16, 5.2: none in (1, 2)


def test_how_many_are_asked_at_once_changes_no_distance():
    model, x, _ = classifier_with_margin(0.7)
    directions = random_directions(3, torch.arange(2), 5, SHAPE)
    one, many = (crossings(model, x, directions, fill=fill)[0] for fill in (1, 1000))
    assert torch.equal(one, many)
    assert bool(one.isfinite().any())


def test_ways_in_the_box_have_the_length_that_was_asked_for_and_stay_pictures():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, *SHAPE, generator=generator).mul(3).sub(1).clamp(0, 1)  # many at the box
    path = InBox(x, random_directions(1, torch.arange(4), 1, SHAPE)[:, 0])
    lines = torch.tensor([0, 1, 2, 3, 3])
    lengths = torch.tensor([0.3, 1.0, 1e-3, 0.7, 1.5], dtype=torch.float64)
    points = path.at(lines, lengths)
    assert bool(((points >= 0) & (points <= 1)).all())
    moved = (points - x[lines]).double().flatten(1).norm(dim=1)
    torch.testing.assert_close(moved, lengths, rtol=1e-4, atol=1e-6)
    # Where the box ends the way, its end: every value that moves is at 0 or 1.
    end = path.at(torch.tensor([2]), torch.tensor([1e3], dtype=torch.float64))[0]
    assert bool(((end == 0) | (end == 1) | (end == x[2])).all())


def test_random_noise_needs_a_length_that_grows_with_the_number_of_values_and_chosen_does_not():
    # A linear margin m: chosen noise of length m/||w|| suffices, random noise of length r breaks
    # it with probability P(<u, w> < -m/r), about 1 - Φ(m sqrt(D) / (r ||w||)).
    shape = (1, 20, 20)
    weight = torch.zeros(shape)
    weight[0, :, ::2] = 0.05
    weight[0, :, 1::2] = -0.05
    model = TwoClassLinear(weight, 0.25)
    size = float(weight.norm())
    x, label = torch.full((40, *shape), 0.5), torch.ones(40, dtype=torch.int64)
    rows = torch.arange(40)
    margin = float(model.margin(x[:1]))
    lengths = np.array([0.5, 1.5, 5.0]) * margin / size
    chosen = unit(-weight.expand_as(x))
    found = noise_lengths(
        DecisionRule.of_logits(model, 64), x, label, rows,
        random_directions(0, rows, 25, shape), chosen, lengths, near=0.01, far=9.0,
    )  # fmt: skip
    np.testing.assert_allclose(found.chosen_distance, margin / size, rtol=2e-3)
    assert found.accuracy_chosen().tolist() == [1, 1, 0, 0]
    expected = [1.0] + [0.5 * (1 + math.erf(20 / (k * math.sqrt(2)))) for k in (0.5, 1.5, 5.0)]
    np.testing.assert_allclose(found.accuracy_random(), expected, atol=0.01)
    assert found.lengths.tolist() == [0.0, *lengths]


def test_a_row_that_is_wrong_from_the_start_counts_as_wrong_at_every_length():
    model, x, _ = classifier_with_margin(0.5)
    label = torch.tensor([1, 0])
    rows = torch.arange(2)
    found = noise_lengths(
        DecisionRule.of_logits(model, 8), x, label, rows,
        random_directions(0, rows, 3, SHAPE), unit(-model.weight.expand_as(x)), np.array([0.01]),
        near=1e-3, far=1.0,
    )  # fmt: skip
    assert found.chosen_distance[1] == 0
    assert 0 < found.chosen_distance[0] < np.inf
    assert found.accuracy_chosen()[0] == 0.5
    assert not found.random_right[1].any()


def test_logits_that_are_not_finite_are_refused_by_the_row_they_are_on_the_way_from():
    def model(x: Tensor) -> Tensor:
        bad = x.flatten(1).amax(dim=1, keepdim=True) > 1
        return torch.where(bad, torch.nan, torch.ones(len(x), 2))

    x = torch.full((1, *SHAPE), 0.9)
    with pytest.raises(UserError, match="row 41 are not finite"):
        DecisionRule.of_logits(model, 4).decide(x + 0.2, torch.tensor([41]))
    assert DecisionRule.of_logits(model, 4).decide(x, torch.tensor([41])).tolist() == [0]
    with pytest.raises(UserError, match="row 41"):
        slope_at(
            lambda x: x.flatten(1)[:, :2] * torch.nan, x, torch.tensor([0]), torch.tensor([41]), 2
        )
