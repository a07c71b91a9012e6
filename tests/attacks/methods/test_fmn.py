"""FMN against the closed form on linear models, and its projections against their definitions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from minimal_norm import (
    Linear,
    assert_rows_do_not_depend_on_their_neighbours,
    assert_what_is_recorded_can_be_stored_and_is_wrong,
    attacked,
    change_levels,
    linear,
)
from scipy.optimize import minimize
from torch import Tensor

from pipeline.attacks.base import Norm, row_norm
from pipeline.attacks.geometry.projection import onto_ball
from pipeline.attacks.methods.fmn import Fmn
from pipeline.perturbation_terms import MARGIN

ALL = (Norm.L2, Norm.LINF, Norm.L1)


def smallest_l1_in_the_box(model: Linear) -> Tensor:
    """The least sum of changes at which class k leads by MARGIN, in levels, ``[N, K]``.

    The steepest value is changed first, as far as the box goes, then the next steepest. Infinite
    for the true class.
    """
    logits = model(model.x).double()
    found = torch.full_like(logits, torch.inf)
    for n, (x, y) in enumerate(zip(model.x.double().flatten(1), model.y, strict=True)):
        for k in range(logits.shape[1]):
            if k == y:
                continue
            slope = (model.weight[k] - model.weight[y]).double().flatten()
            room = torch.where(slope > 0, 1 - x, x)
            missing, spent = float(logits[n, y] - logits[n, k] + MARGIN), 0.0
            for i in slope.abs().argsort(descending=True).tolist():
                here = min(float(room[i]), missing / float(slope[i].abs()))
                spent, missing = spent + here, missing - here * float(slope[i].abs())
            found[n, k] = spent * 255
    return found


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("norm", ALL)
def test_the_smallest_change_of_a_linear_model_is_found_but_for_the_lattice(
    norm: Norm, classes: int
) -> None:
    model = linear(classes)
    found = attacked(Fmn(norm), model)
    size = change_levels(found, model.x, norm)
    least = model.smallest(norm)
    assert found.broken.all()
    assert (size >= least - 1e-3).all()
    if norm is Norm.LINF:
        # No change of whole levels is between the closed form and the next whole number.
        assert torch.equal(size.round(), least.ceil())
    elif norm is Norm.L2:
        # Half a level in each of 40 values is 3.2; measured, 0.6.
        assert (size <= 1.01 * least + 1).all()
    else:
        # The attack follows the strongest rival, which need not be the nearest in L1: the closed
        # form is that of the class in which it ended. One level: the last value to be changed is
        # changed by a whole one.
        ended = model(found.adversarial).argmax(dim=1)
        nearest = smallest_l1_in_the_box(model).gather(1, ended[:, None]).squeeze(1)
        assert (size <= 1.02 * nearest + 1).all()


def test_each_step_is_one_forward_and_but_for_the_last_one_backward() -> None:
    found = attacked(Fmn(steps=20), linear(3))
    assert found.forwards.tolist() == [1 + 21] * 12
    assert found.backwards.tolist() == [20] * 12


@pytest.mark.parametrize("norm", ALL)
def test_rows_do_not_depend_on_their_neighbours(norm: Norm) -> None:
    assert_rows_do_not_depend_on_their_neighbours(Fmn(norm, steps=30))


@pytest.mark.parametrize("norm", ALL)
def test_what_is_recorded_can_be_stored_and_is_wrong(norm: Norm) -> None:
    assert_what_is_recorded_can_be_stored_and_is_wrong(Fmn(norm, steps=60))


@given(seed=st.integers(0, 10_000), norm=st.sampled_from(ALL), radius=st.floats(0.0, 4.0))
@settings(max_examples=60, deadline=None)
def test_a_projection_is_in_the_ball_and_the_box_and_leaves_what_is_in_them(
    seed: int, norm: Norm, radius: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(3, 1, 3, 4, generator=generator)
    delta = torch.randn(3, 1, 3, 4, generator=generator)
    limit = torch.tensor([radius, 2 * radius, torch.inf])
    there = onto_ball(delta, limit, norm, clean)
    assert (row_norm(there, norm).flatten() <= limit * (1 + 1e-5) + 1e-6).all()
    assert (clean + there).min() >= -1e-6
    assert (clean + there).max() <= 1 + 1e-6
    torch.testing.assert_close(onto_ball(there, limit, norm, clean), there, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_l1_projection_is_the_nearest_point_of_ball_and_box(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(1, 1, 2, 4, generator=generator)
    delta = torch.randn(1, 1, 2, 4, generator=generator)
    there = onto_ball(delta, torch.tensor([1.0]), Norm.L1, clean)
    # The nearest change has delta's signs, so the ball is one linear bound on the sizes.
    size = delta.abs().flatten().double().numpy()
    room = torch.where(delta > 0, 1 - clean, clean).flatten().double().numpy()
    wanted = minimize(
        lambda s: ((s - size) ** 2).sum(),
        size * 0,
        jac=lambda s: 2 * (s - size),
        bounds=[(0.0, float(r)) for r in room],
        constraints={"type": "ineq", "fun": lambda s: 1.0 - s.sum()},
        method="SLSQP",
        options={"ftol": 1e-12},
    )
    found = there.abs().flatten().double()
    torch.testing.assert_close(found, torch.from_numpy(wanted.x), rtol=0, atol=1e-5)
