"""L-BFGS in a box against scipy's, on problems of which each row has its own."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from pipeline.attacks.base import State
from pipeline.attacks.engine.projected_lbfgs import ProjectedLbfgs

NUM, SIZE = 8, 15


def quadratics(spread: float) -> tuple[Tensor, Tensor]:
    """``½ x'Ax - b'x`` with eigenvalues from 1 to ``spread``: float64 ``[N, D, D]``, ``[N, D]``."""
    generator = torch.Generator().manual_seed(5)
    turn = torch.linalg.qr(torch.randn(NUM, SIZE, SIZE, generator=generator).double()).Q
    values = spread ** torch.linspace(0, 1, SIZE).double()
    a = turn @ torch.diag(values) @ turn.mT
    # Without the box the minimum is here: part of its values are outside.
    free = 0.5 + 0.8 * torch.randn(NUM, SIZE, generator=generator).double()
    return a, (a @ free[:, :, None]).squeeze(2)


def path(a: Tensor, b: Tensor, calls: int, tolerance: float = 0.0) -> list[State]:
    """The states after 1, 2, ... calls of these problems."""
    solver = ProjectedLbfgs(memory=8, tolerance=tolerance)
    state = solver.begin(torch.full_like(b, 0.5))
    states = []
    for _ in range(calls):
        x = state["trial"]
        ax = (a * x[:, None]).sum(dim=2)
        value, gradient = (x * (ax / 2 - b)).sum(dim=1), ax - b
        scale = torch.full_like(value, 0.1)
        state = solver.tell(state, value, gradient, scale, lambda p: p.clamp(0, 1))
        states.append(state)
    return states


@pytest.mark.parametrize(("spread", "calls"), [(1.0, 20), (30.0, 60), (1000.0, 300)])
def test_the_minimum_in_the_box_is_that_of_scipys_l_bfgs_b(spread: float, calls: int) -> None:
    a, b = quadratics(spread)
    state = path(a, b, calls)[-1]
    at_bounds = 0
    for n in range(NUM):
        matrix, vector = a[n].numpy(), b[n].numpy()
        wanted = minimize(
            lambda x, matrix=matrix, vector=vector: x @ matrix @ x / 2 - vector @ x,
            np.full(SIZE, 0.5),
            jac=lambda x, matrix=matrix, vector=vector: matrix @ x - vector,
            bounds=[(0, 1)] * SIZE,
            method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 10_000},
        )
        np.testing.assert_allclose(state["point"][n], wanted.x, rtol=0, atol=2e-5)
        at_bounds += int(((wanted.x == 0) | (wanted.x == 1)).sum())
    assert at_bounds > NUM  # the box matters


def test_every_accepted_point_is_lower_than_the_one_before() -> None:
    a, b = quadratics(100.0)
    values = torch.stack([state["value"] for state in path(a, b, 25)])
    assert (values.diff(dim=0) <= 0).all()


def test_a_row_does_not_depend_on_the_others() -> None:
    a, b = quadratics(100.0)
    together = path(a, b, 30)[-1]["point"]
    for chosen in ([3], [6, 3, 1]):
        assert torch.equal(path(a[chosen], b[chosen], 30)[-1]["point"], together[chosen])


def test_a_row_rests_where_a_step_no_longer_pays_and_not_before() -> None:
    a, b = quadratics(30.0)
    lowest = path(a, b, 200)[-1]["value"]
    rested = torch.zeros(NUM, dtype=torch.bool)
    for state in path(a, b, 60, tolerance=1e-6):
        now = state["resting"] & ~rested
        rested = rested | now
        # A step's fall is a share of what is left to fall: 1e-6 of the value ends near 1e-5.
        excess = (state["value"] - lowest) / lowest.abs()
        assert (excess[now] < 1e-4).all()
    assert rested.all()
