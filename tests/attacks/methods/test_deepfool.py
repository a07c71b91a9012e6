"""DeepFool against the closed form on linear models."""

import pytest
import torch
from minimal_norm import (
    Linear,
    assert_rows_do_not_depend_on_their_neighbours,
    assert_what_is_recorded_can_be_stored_and_is_wrong,
    attacked,
    change_levels,
    flat,
    linear,
)

from pipeline.attacks.base import Norm, row_norm
from pipeline.attacks.methods.deepfool import DeepFool, to_hyperplane
from pipeline.errors import UserError

BOTH = (Norm.L2, Norm.LINF)


@pytest.mark.parametrize("norm", BOTH)
def test_one_step_of_a_linear_model_reaches_the_face_along_the_shortest_way(norm: Norm) -> None:
    model = linear(2)
    logits = model(model.x)
    # z_y - z_k, and its gradient.
    lead = (logits[:, 0] - logits[:, 1]) * (1 - 2.0 * model.y)
    gradient = (model.weight[0] - model.weight[1]) * (1 - 2.0 * model.y).reshape(-1, 1, 1, 1)
    step = to_hyperplane(lead, gradient, norm)
    after = model(model.x + step)
    torch.testing.assert_close(after[:, 0], after[:, 1], rtol=0, atol=1e-4)
    # margin / dual norm, without the MARGIN that `smallest` adds
    dual = float(row_norm(gradient[:1], Norm.L2 if norm is Norm.L2 else Norm.L1))
    torch.testing.assert_close(row_norm(step, norm).flatten(), lead / dual)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("norm", BOTH)
def test_the_smallest_change_of_a_linear_model_is_found_but_for_the_lattice(
    norm: Norm, classes: int
) -> None:
    model = linear(classes)
    found = attacked(DeepFool(norm), model)
    size, least = change_levels(found, model.x, norm), model.smallest(norm)
    assert found.broken.all()
    # No picture below the closed form is broken, so the lower bound has no tolerance. Upwards:
    # the overshoot of 2 %, and half a level a value, which is 0.5 in L∞ and 0.5 √40 in L2. In L∞
    # a change of whole levels besides cannot be shorter than the next whole number.
    assert (size >= least - 1e-3).all()
    if norm is Norm.L2:
        assert (size <= 1.02 * least + 0.5 * 40**0.5).all()
    else:
        assert (size <= (1.02 * least).ceil() + 1).all()


@pytest.mark.parametrize("norm", BOTH)
def test_most_rows_of_a_linear_model_take_one_iteration(norm: Norm) -> None:
    model = linear(4)
    found = attacked(DeepFool(norm, overshoot=0.1), model)
    # Three faces and a look: the picture is found at query number 3 counted from 0. Where rounding
    # fell short of the face a second iteration went on from there.
    assert (found.step == 3).float().mean() >= 0.5
    assert (found.step % 4 == 3).all()
    assert found.step.max() <= 11
    # and each iteration's passes: four forwards, three backwards
    iterations = (found.step + 1) // 4
    assert torch.equal(found.forwards, 1 + 4 * iterations)
    assert torch.equal(found.backwards, 3 * iterations)


def test_the_nearest_face_is_that_of_another_class_than_the_runner_up() -> None:
    # Class 1 is behind by less than class 2, but its face is ten times as far away.
    weight = torch.zeros(3, 2, 4, 5)
    weight[1, 0, 0, 0], weight[2, 0, 0, 1] = 1.0, 20.0
    x = torch.full((1, 2, 4, 5), 128 / 255)
    own = (x * weight[:, :]).sum(dim=(1, 2, 3))
    bias = torch.tensor([0.0, -0.3, -0.6]) - own
    model = Linear(weight, bias, x, torch.zeros(1, dtype=torch.int64))
    found = attacked(DeepFool(), model)
    changed = (found.adversarial != x).nonzero().tolist()
    assert changed == [[0, 0, 0, 1]]
    # 0.6 / 20 = 7.65 levels, so 8
    assert change_levels(found, x, Norm.L2).tolist() == pytest.approx([8.0], abs=1e-4)
    only_likely = attacked(DeepFool(classes=1), model)
    assert (only_likely.adversarial != x).nonzero().tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("norm", BOTH)
def test_values_at_a_bound_take_no_part_in_the_step(norm: Norm) -> None:
    # Half of the values are at 0 and would have to fall: the others bear all the change.
    weight = torch.ones(2, 1, 2, 4)
    weight[0] = 0
    x = torch.full((1, 1, 2, 4), 100 / 255)
    x[:, :, 0] = 0
    model = Linear(weight, torch.tensor([0.0, -1.0]), x, torch.ones(1, dtype=torch.int64))
    found = attacked(DeepFool(norm), model)
    assert found.broken.all()
    assert torch.equal(found.adversarial[:, :, 0], x[:, :, 0])
    # Four values of 100 must fall from 400 below 255 levels in all: by 145 / 4 = 36.25 each.
    fall = (x - found.adversarial)[:, :, 1] * 255
    assert fall.min() >= 36 - 1e-3
    assert fall.max() <= 38 + 1e-3


def test_a_model_without_gradients_ends_after_one_look_at_its_faces() -> None:
    model = flat()
    found = attacked(DeepFool(), model)
    assert not found.broken.any()
    assert torch.equal(found.adversarial, model.x)
    assert found.forwards.tolist() == [1 + 2] * len(model.x)


@pytest.mark.parametrize("norm", BOTH)
def test_rows_do_not_depend_on_their_neighbours(norm: Norm) -> None:
    assert_rows_do_not_depend_on_their_neighbours(DeepFool(norm))


@pytest.mark.parametrize("norm", BOTH)
def test_what_is_recorded_can_be_stored_and_is_wrong(norm: Norm) -> None:
    assert_what_is_recorded_can_be_stored_and_is_wrong(DeepFool(norm))


def test_l1_is_refused() -> None:
    with pytest.raises(UserError, match="use fmn"):
        DeepFool(Norm.L1)
