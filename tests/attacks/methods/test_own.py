"""A user's attack is held to the ball and the lattice, and its passes are counted."""

import random
import sys
import types

import numpy as np
import pytest
import torch
from linear_models import TwoClassLinear, dual_norm
from torch import nn

from pipeline.attacks.base import Norm
from pipeline.attacks.engine.counting_model import CountingModel
from pipeline.attacks.methods.own import OwnAttack, attack_with
from pipeline.errors import UserError
from pipeline.perturbation_terms import MARGIN

EPS = 2  # levels


def fgsm(model, x, y, eps):
    probe = x.clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(model(probe), y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, probe)
    return x + eps * gradient.sign()


def smallest(model, x, y):
    """Towards the far side in steps of a fiftieth, rounded to nothing."""
    probe = x.clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(model(probe), y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, probe)
    direction, best = gradient.flatten(1), x.clone()
    unit = (direction / direction.norm(dim=1, keepdim=True)).reshape(x.shape)
    open_rows = torch.ones(len(x), dtype=torch.bool)
    for length in torch.arange(1, 100) / 50:
        here = x + length * unit
        with torch.no_grad():
            new = (model(here).argmax(dim=1) != y) & open_rows
        best[new] = here[new]
        open_rows &= ~new
    return best


def exact(model, x, y):
    """Closed form, less than a rounding error behind the border."""
    linear = model._model
    weight = linear.weight
    length = -linear.margin(x) / (weight**2).sum()
    return x + 1.0001 * length[:, None, None, None] * weight


def cheating(model, x, y, eps):
    return fgsm(model, x, y, 4 * eps)


def outside(model, x, y, eps):
    return fgsm(model, x, y, 255.0)


def drawing(model, x, y, eps):
    legacy = np.random.standard_normal(x.shape)  # noqa: NPY002
    np_noise = torch.from_numpy(legacy).float()
    return x + eps * (torch.randn_like(x) + np_noise + random.gauss(0, 1)).sign()


def raising(model, x, y, eps):
    raise ZeroDivisionError("division by zero")


def nan(model, x, y, eps):
    return x / 0 * 0


def fewer(model, x, y, eps):
    return x[:1]


def numbers(model, x, y, eps):
    return x.tolist()


def in_place(model, x, y, eps):
    return x.fill_(0.5)


def busy(model, x, y, eps):
    """Three forward passes of all rows, one of two rows, and two backward passes."""
    for _ in range(2):
        fgsm(model, x, y, eps)
    with torch.no_grad():
        model(x)
        model(x[:2])
    return x


@pytest.fixture(autouse=True)
def module(monkeypatch):
    brought = types.ModuleType("brought_attacks")
    for name in (
        "fgsm", "smallest", "exact", "cheating", "outside", "drawing", "raising", "nan", "fewer",
        "numbers", "in_place", "busy",
    ):  # fmt: skip
        setattr(brought, name, globals()[name])
    monkeypatch.setitem(sys.modules, "brought_attacks", brought)


@pytest.fixture
def problem():
    """A linear model and eleven pictures away from the box, of which it gets nine right."""
    generator = torch.Generator().manual_seed(3)
    model = TwoClassLinear(torch.randn(2, 4, 5, generator=generator), 0.0)
    x = torch.randint(102, 154, (11, 2, 4, 5), generator=generator).float() / 255
    model.bias = -float(model.margin(x).median())
    y = (model.margin(x) > 0).long()
    y[[2, 7]] = 1 - y[[2, 7]]
    return model, x, y


def attacked(problem, name, *, eps=EPS, norm=Norm.LINF, seed=0, rows_per_call=4, rows=None):
    model, x, y = problem
    own = OwnAttack(f"brought_attacks:{name}", norm, eps, seed)
    rows = torch.arange(len(x)) if rows is None else rows
    return attack_with(own, model, x, y, rows, rows_per_call=rows_per_call)


def test_the_sign_step_breaks_what_a_linear_model_allows_and_nothing_that_was_wrong(problem):
    model, x, y = problem
    found = attacked(problem, "fgsm")
    right = model(x).argmax(dim=1) == y
    reach = EPS / 255 * dual_norm(model.weight, Norm.LINF)
    assert torch.equal(found.clean_right, right)
    assert torch.equal(found.broken & right, right & (model.margin(x).abs() < reach - MARGIN))
    assert 0 < int((found.broken & right).sum()) < 9
    assert torch.equal(found.adversarial[~right], x[~right])
    levels = (found.adversarial - x) * 255
    assert torch.equal(levels.round().abs().amax(dim=(1, 2, 3)), EPS * right.float())
    assert torch.equal(found.step, right.long())


def test_a_picture_outside_the_ball_is_brought_inside_and_counted_as_lost(problem):
    model, x, _ = problem
    honest = attacked(problem, "fgsm")
    for name in ("cheating", "outside"):
        found = attacked(problem, name)
        assert torch.equal(found.adversarial, honest.adversarial)
        assert torch.equal(found.broken, honest.broken)
        reach = 4 * EPS / 255 * dual_norm(model.weight, Norm.LINF)
        if name == "cheating":
            breaks = found.clean_right & (model.margin(x).abs() < reach - MARGIN)
            assert torch.equal(found.lost, breaks & ~honest.broken)
        assert found.lost.any()
    assert not honest.lost.any()


def test_an_attack_without_eps_looks_for_the_smallest_change(problem):
    model, x, _ = problem
    found = attacked(problem, "smallest", eps=0, norm=Norm.L2)
    least = model.margin(x).abs() / dual_norm(model.weight, Norm.L2)
    length = (found.adversarial - x).flatten(1).norm(dim=1)
    won = found.broken & found.clean_right
    assert torch.equal(won, found.clean_right)
    assert not found.lost.any()
    assert ((length >= least) & (length <= least + 0.03))[won].all()  # found in steps of 0.02
    with pytest.raises(UserError, match=r"has no parameter eps, .* leave --eps out"):
        attacked(problem, "smallest")


def test_what_rounding_brings_back_in_front_of_the_border_is_lengthened(problem):
    """The exact smallest change, which no rounded picture is as short as."""
    model, x, _ = problem
    found = attacked(problem, "exact", eps=0, norm=Norm.L2)
    least = model.margin(x).abs() / dual_norm(model.weight, Norm.L2)
    length = (found.adversarial - x).flatten(1).norm(dim=1)
    won = found.broken & found.clean_right
    # A change far below one level has no lattice point at twice its length.
    assert torch.equal(won, found.clean_right & ~found.lost)
    assert not found.lost[least > 2 / 255].any()
    assert won.sum() >= 8
    assert (length > least)[won].all()
    assert (length <= 2 * least)[won].all()
    # The clean picture, two of ours, and at least one longer than the first
    assert int(found.forwards[won].min()) >= 1 + 2 + 1


def test_passes_are_counted_by_call_for_all_rows_of_the_batch(problem):
    found = attacked(problem, "busy", rows_per_call=5)
    right = found.clean_right
    # The clean picture, 3 whole calls and one of two rows of five, rounded upwards, and two of ours
    assert found.forwards[right].tolist() == [1 + 4 + 2] * 9
    assert found.forwards[~right].tolist() == [1] * 2
    assert found.backwards[right].tolist() == [2] * 9
    assert found.calls == 3 + 2 * 4 + 2 * 2  # 11 rows, two batches, nine rows


def test_each_gradient_of_a_jacobian_counts():
    model = CountingModel(lambda x: x.flatten(1)[:, :3] * 2, torch.device("cpu"))
    x = torch.rand(4, 1, 2, 2, requires_grad=True)
    logits = model(x)
    for number in range(3):
        torch.autograd.grad(logits[:, number].sum(), x, retain_graph=True)
    assert (model.forwards, model.backwards, model.calls) == (4, 12, 1)
    assert not model.training
    assert next(model.parameters()).device.type == "cpu"


def test_draws_follow_seed_and_first_row_and_leave_the_generators_as_they_were(problem):
    torch.manual_seed(9)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    first = attacked(problem, "drawing", rows_per_call=16).adversarial
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    assert torch.equal(first, attacked(problem, "drawing", rows_per_call=16).adversarial)
    for change in ({"seed": 1}, {"rows": torch.arange(11) + 5}):
        other = attacked(problem, "drawing", rows_per_call=16, **change)
        assert not torch.equal(first, other.adversarial)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raising", "brought_attacks:raising raised ZeroDivisionError: division by zero"),
        ("nan", "returned pictures that are not finite"),
        ("fewer", r"returned \[1, 2, 4, 5\] where it was given pictures \[4, 2, 4, 5\]"),
        ("numbers", "returned list where"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(problem, name, message):
    with pytest.raises(UserError, match=message):
        attacked(problem, name)


def test_an_attack_that_writes_into_its_pictures_changes_none_of_ours(problem):
    _, x, _ = problem
    before = x.clone()
    attacked(problem, "in_place")
    assert torch.equal(x, before)


def test_a_ball_is_asked_for_and_no_rows_are_no_mistake(problem):
    with pytest.raises(UserError, match="at least one level"):
        attacked(problem, "fgsm", eps=0)
    model, x, y = problem
    assert len(attacked((model, x[:0], y[:0]), "fgsm").adversarial) == 0
