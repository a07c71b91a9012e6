"""The margin's deviation from its linearisation: nought of a linear, closed form of a quadratic."""

import torch
from linear_models import classifier_with_margin
from torch import Tensor

from pipeline.boundary.directions import random_directions, slope_at
from pipeline.boundary.linearity import local_linearity

SHAPE = (2, 4, 5)
LENGTHS = torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64)


def linearity_of(model, x, y):
    rows = torch.arange(len(x))
    slope = slope_at(model, x, y, rows, 8)
    directions = random_directions(1, rows, 6, SHAPE)
    return (
        slope,
        directions,
        local_linearity(model, slope, x, y, rows, directions, LENGTHS, rows_per_call=8),
    )


def test_a_linear_margin_does_not_deviate_even_where_another_rival_would_take_over():
    model, x, y = classifier_with_margin(0.5)
    _, _, found = linearity_of(model, x, y)
    assert found.deviation.shape == (2, 6, 3)
    assert float(found.deviation.abs().max()) < 1e-5

    generator = torch.Generator().manual_seed(2)
    weights = torch.randn(7, 40, generator=generator)
    y = (x.flatten(1) @ weights.T).argmax(dim=1)

    def many(x: Tensor) -> Tensor:
        return x.flatten(1) @ weights.T

    rivals = {
        int(r)
        for r in many(x + 4 * random_directions(1, torch.arange(2), 1, SHAPE)[:, 0]).argsort(dim=1)[
            :, -2
        ]
    }
    assert rivals  # far away others lead
    _, _, found = linearity_of(many, x, y)
    assert float(found.deviation.abs().max()) < 1e-4


def test_a_quadratic_margin_deviates_by_half_its_curvature_times_the_length_squared():
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(40, 40, generator=generator) / 6
    hessian = (root + root.T).double()

    def model(x: Tensor) -> Tensor:
        flat = x.flatten(1).double() - 0.3
        m = 1.5 + flat.sum(dim=1) + 0.5 * ((flat @ hessian) * flat).sum(dim=1)
        return torch.stack((-m / 2, m / 2), dim=1)

    _, x, y = classifier_with_margin(0.5)
    slope, directions, found = linearity_of(model, x, y)
    u = directions.flatten(2).double()
    curvature = torch.einsum("ndi,ij,ndj->nd", u, hessian, u)
    exact = 0.5 * LENGTHS**2 * curvature[:, :, None]
    torch.testing.assert_close(found.deviation, exact, rtol=1e-3, atol=2e-6)
    most = LENGTHS * slope.steepness[:, None, None]
    torch.testing.assert_close(found.relative, exact.abs() / most, rtol=1e-3, atol=2e-6)
