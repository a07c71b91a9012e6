"""FAB towards one class: its projection against scipy, its walk against the source's algorithm
written anew in NumPy, and its verdicts against the closed form on linear models."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from attack_driver import Recorder, conv_network, drive, lattice_pictures
from minimal_norm import (
    Linear,
    assert_rows_do_not_depend_on_their_neighbours,
    assert_what_is_recorded_can_be_stored_and_is_wrong,
    change_levels,
    linear,
)
from scipy.optimize import linprog, minimize
from torch import Tensor

from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import Attacked, attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.geometry.hyperplane import to_hyperplane_in_box
from pipeline.attacks.methods.fab import FabTargeted
from pipeline.perturbation_terms import MARGIN

ORDER = {Norm.LINF: np.inf, Norm.L2: 2, Norm.L1: 1}


def attacked(attack: FabTargeted, model: Linear) -> Attacked:
    return attack_rows(attack, model, model.x, model.y, torch.arange(len(model.x)), rows_per_call=8)


def nearest(missing: float, slope: np.ndarray, point: np.ndarray, norm: Norm) -> float:
    """The least norm of r with <slope, r> = missing and point + r in [0, 1], by scipy."""
    size = len(slope)
    if norm is Norm.LINF:
        # Least t with -t <= r_i <= t.
        both = np.block([[np.eye(size), -np.ones((size, 1))], [-np.eye(size), -np.ones((size, 1))]])
        found = linprog(
            np.append(np.zeros(size), 1.0),
            A_ub=both,
            b_ub=np.zeros(2 * size),
            A_eq=np.append(slope, 0.0)[None],
            b_eq=[missing],
            bounds=[*zip(-point, 1 - point, strict=True), (0, None)],
        )
        assert found.status == 0
        return float(found.x[-1])
    if norm is Norm.L1:
        # r = up - down, both at least 0.
        found = linprog(
            np.ones(2 * size),
            A_eq=np.append(slope, -slope)[None],
            b_eq=[missing],
            bounds=[*((0, 1 - p) for p in point), *((0, p) for p in point)],
        )
        assert found.status == 0
        return float(found.fun)
    found = minimize(
        lambda r: r @ r,
        np.zeros(size),
        jac=lambda r: 2 * r,
        bounds=list(zip(-point, 1 - point, strict=True)),
        constraints={"type": "eq", "fun": lambda r: slope @ r - missing, "jac": lambda r: slope},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success
    return float(np.linalg.norm(found.x))


def smallest(model: Linear, norm: Norm) -> Tensor:
    """The least norm at which another class leads by MARGIN, in levels, ``[N]``; in L1, where one
    value moves as far as the others together, with the box."""
    if norm is not Norm.L1:
        return model.smallest(norm)
    found = torch.full((len(model.x),), torch.inf, dtype=torch.float64)
    logits = model(model.x).double()
    for n, own in enumerate(model.y.tolist()):
        for other in set(range(len(model.bias))) - {own}:
            slope = (model.weight[other] - model.weight[own]).double().flatten().numpy()
            missing = float(logits[n, own] - logits[n, other]) + MARGIN
            least = nearest(missing, slope, model.x[n].double().flatten().numpy(), norm)
            found[n] = min(float(found[n]), 255 * least)
    return found


def planes() -> tuple[Tensor, Tensor, Tensor]:
    """What is missing, slopes and points: values in the middle, at bounds, and slopes of 0; some
    planes nearer than any bound, some near the last corner, half of them the other way."""
    generator = torch.Generator().manual_seed(0)
    slope = torch.randn(40, 2, 2, 3, generator=generator)
    slope[::4, 0, 0] = 0.0
    point = torch.rand(40, 2, 2, 3, generator=generator)
    point[1::4, 1, 0], point[2::4, 1] = 0.0, 1.0
    sign = torch.ones(40)
    sign[::2] = -1
    direction = slope.sign() * sign.reshape(-1, 1, 1, 1)
    room = torch.where(direction > 0, 1 - point, point)
    most = (slope.abs() * room).sum(dim=(1, 2, 3))
    share = torch.tensor([0.02, 0.3, 0.6, 0.9, 0.99]).repeat(8)
    return sign * share * most, slope, point


@pytest.mark.parametrize("norm", Norm)
def test_the_projection_is_the_nearest_point_of_the_plane_in_the_box(norm: Norm) -> None:
    missing, slope, point = planes()
    step = to_hyperplane_in_box(missing, slope, point, norm)
    torch.testing.assert_close((slope * step).sum(dim=(1, 2, 3)), missing, rtol=1e-5, atol=1e-6)
    assert (point + step).min() >= -1e-6
    assert (point + step).max() <= 1 + 1e-6
    for n in range(len(missing)):
        least = nearest(
            float(missing[n]),
            slope[n].double().flatten().numpy(),
            point[n].double().flatten().numpy(),
            norm,
        )
        assert np.linalg.norm(step[n].flatten().numpy(), ORDER[norm]) == pytest.approx(
            least, rel=2e-4
        )


@pytest.mark.parametrize("norm", Norm)
def test_a_plane_beyond_the_box_leads_to_the_corner_nearest_to_it(norm: Norm) -> None:
    missing, slope, point = planes()
    step = to_hyperplane_in_box(100 * missing.sign(), slope, point, norm)
    upwards = (slope * missing.reshape(-1, 1, 1, 1)) > 0
    corner = torch.where(upwards, 1.0, 0.0).where(slope != 0, point)
    torch.testing.assert_close(point + step, corner, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", Norm)
def test_no_gradient_and_nothing_missing_are_no_step(norm: Norm) -> None:
    missing, slope, point = planes()
    for found in (
        to_hyperplane_in_box(missing, torch.zeros_like(slope), point, norm),
        to_hyperplane_in_box(torch.zeros_like(missing), slope, point, norm),
    ):
        assert torch.equal(found, torch.zeros_like(found))


@pytest.mark.parametrize("norm", Norm)
def test_a_row_alone_is_projected_to_the_same_bits_as_among_others(norm: Norm) -> None:
    missing, slope, point = planes()
    together = to_hyperplane_in_box(missing, slope, point, norm)
    for n in range(0, 40, 7):
        one = slice(n, n + 1)
        alone = to_hyperplane_in_box(missing[one], slope[one], point[one], norm)
        assert torch.equal(alone, together[one])


@dataclass(frozen=True)
class Bent:
    """Logits ``V tanh(W (x - 0.5))`` of four classes, float64."""

    w: np.ndarray  # [6, D]
    v: np.ndarray  # [4, 6]

    def __call__(self, x: Tensor) -> Tensor:
        w, v = torch.from_numpy(self.w), torch.from_numpy(self.v)
        return torch.tanh((x.flatten(1).double() - 0.5) @ w.T) @ v.T

    def lead(self, x: np.ndarray, own: int, target: int) -> tuple[float, np.ndarray]:
        """Of the target over the true class, less MARGIN, and its gradient by the chain rule."""
        hidden = np.tanh(self.w @ (x - 0.5))
        weight = self.v[target] - self.v[own]
        return float(weight @ hidden) - MARGIN, (weight * (1 - hidden**2)) @ self.w

    def wrong(self, x: np.ndarray, own: int) -> bool:
        logits = self.v @ np.tanh(self.w @ (x - 0.5))
        return bool(np.delete(logits, own).max() - logits[own] > MARGIN)


def projected(missing: float, slope: np.ndarray, point: np.ndarray, norm: Norm) -> np.ndarray:
    """The projection for one row: the multiplier is halved in until the plane is met; in L1 value
    after value moves, the steepest first."""
    direction = np.sign(slope) * np.sign(missing)
    room = np.where(direction > 0, 1 - point, point)
    if norm is Norm.L1:
        size, left = np.zeros_like(slope), abs(missing)
        for at in np.argsort(-np.abs(slope), kind="stable"):
            size[at] = min(left / abs(slope[at]), room[at])
            left -= size[at] * abs(slope[at])
        return direction * size
    rate = np.ones_like(slope) if norm is Norm.LINF else np.abs(slope)
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        enough = np.abs(slope) @ np.minimum(middle * rate, room) >= abs(missing)
        low, high = (low, middle) if enough else (middle, high)
    return direction * np.minimum(high * rate, room)


def walk(
    model: Bent, clean: np.ndarray, own: int, target: int, norm: Norm, steps: int
) -> tuple[list[np.ndarray], int]:
    """The points at which the source's algorithm asks whether the answer is wrong, for one row, and
    how many are."""
    order = ORDER[norm]
    x, asked, wrong = clean, [], 0
    for _ in range(steps):
        lead, w = model.lead(x, own, target)
        b = w @ x - lead  # the plane <w, z> = b
        d = projected(b - w @ x, w, x, norm)
        d_clean = projected(b - w @ clean, w, clean, norm)
        near, far = np.linalg.norm(d, order), np.linalg.norm(d_clean, order)
        alpha = min(near / (near + far), 0.1)
        x = (1 - alpha) * (x + 1.05 * d) + alpha * (clean + 1.05 * d_clean)
        x = np.clip(x, 0, 1)
        asked.append(x)
        if model.wrong(x, own):
            wrong += 1
            x = clean + 0.9 * (x - clean)
    return asked, wrong


@pytest.mark.parametrize("restart", [0, 2])
@pytest.mark.parametrize("norm", Norm)
def test_the_walk_is_that_of_the_source(norm: Norm, restart: int) -> None:
    generator = np.random.default_rng(5)
    model = Bent(generator.standard_normal((6, 9)) * 1.5, generator.standard_normal((4, 6)))
    clean = lattice_pictures(8, (1, 3, 3), seed=2)
    logits = model(clean)
    label = logits.argmax(dim=1)
    steps = 12
    # A ball so small that the questions in it are no part of the walk.
    attack = FabTargeted(Ball(norm, 1), steps)
    asked, _, recorder = drive(attack, model, clean, label, restart=restart)
    assert len(asked) == 2 * steps
    assert all(wanted.all() for wanted in recorder.wanted)
    wrong = 0
    for n in range(len(clean)):
        target = int(logits[n].argsort(descending=True)[1 + restart])
        start = clean[n].double().flatten().numpy()
        points, times = walk(model, start, int(label[n]), target, norm, steps)
        wrong += times
        for step, point in enumerate(points):
            np.testing.assert_allclose(
                asked[2 * step + 1][n].flatten().numpy(), point, atol=2e-4, err_msg=f"{n}, {step}"
            )
    assert 0 < wrong < steps * len(clean)  # both branches were taken


def looks_into_the_ball(
    asked: list[Tensor], recorder: Recorder
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Where a walk had come, the pictures to be stored that were asked about then, and for which
    rows."""
    for at in range(2, len(asked)):
        mask = recorder.masks[at]
        # A gradient at a point, the logits at the next, and these after them, if any.
        if all(recorder.lossless[at - 1 : at + 1]):
            assert mask is not None
            yield asked[at - 1], asked[at], mask


@pytest.mark.parametrize("levels", [30, 100])
def test_what_can_be_stored_is_cut_to_the_ball_or_stretched_to_its_end(levels: int) -> None:
    generator = np.random.default_rng(5)
    model = Bent(generator.standard_normal((6, 9)) * 1.5, generator.standard_normal((4, 6)))
    clean = lattice_pictures(8, (1, 3, 3), seed=2)
    label = model(clean).argmax(dim=1)
    asked, _, recorder = drive(FabTargeted(Ball(Norm.LINF, levels), 8), model, clean, label)
    base, times = clean.double() * 255, {"cut": 0, "stretched": 0, "own": 0}
    for walked, stored, near in looks_into_the_ball(asked, recorder):
        for n in range(len(clean)):
            change = walked[n].double() * 255 - base[n]
            longest = float(change.abs().max())
            # The source's stretch of 5 % may be what took it out of the ball.
            assert bool(near[n]) == (longest <= 1.05 * levels + 1e-3)
            if not near[n]:
                continue
            point = walked[n].double().flatten().numpy()
            found = (stored[n].double() * 255 - base[n]).round()
            if longest > levels:
                kind, wanted = "cut", change.clamp(-levels, levels)
            elif model.wrong(point, int(label[n])) and torch.equal(found, change.round()):
                kind, wanted = "own", change
            else:
                kind, wanted = "stretched", change * levels / longest
            times[kind] += 1
            wanted = (base[n] + wanted).clamp(0, 255) - base[n]
            # to the nearest level, of which float32 may take either at a half
            assert (found - wanted).abs().max() <= 0.5 + 1e-3, kind
    assert times["cut"] > 0
    assert times["own"] > 0
    assert times["stretched"] > 0


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("norm", Norm)
def test_the_smallest_change_of_a_linear_model_is_walked_to(norm: Norm, classes: int) -> None:
    model = linear(classes)
    least = smallest(model, norm)
    best = torch.full_like(least, torch.inf)
    for restart in range(classes - 1):
        asked, _, _ = drive(
            FabTargeted(Ball(norm, 1), 10), model, model.x, model.y, restart=restart
        )
        for point in asked[1::2]:
            logits = model(point)
            own = logits.gather(1, model.y[:, None])
            others = logits.scatter(1, model.y[:, None], -torch.inf)
            wrong = (others - own).amax(dim=1) > MARGIN
            size = torch.linalg.vector_norm(
                (point - model.x).double().flatten(1) * 255, ord=ORDER[norm], dim=1
            )
            best = torch.minimum(best, size.masked_fill(~wrong, torch.inf))
    # Never below the closed form but for float32, and above it by what is left of the 5 %.
    assert (best >= least * (1 - 1e-4)).all()
    assert (best <= least * 1.01).all()


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L1])
@pytest.mark.parametrize("classes", [2, 4])
def test_in_linf_and_l1_a_linear_model_is_broken_exactly_where_the_levels_reach(
    norm: Norm, classes: int
) -> None:
    model = linear(classes)
    # The smallest change has all values at one size, or but one at their bounds, so a whole number
    # of levels is enough from the next one upwards.
    needed = smallest(model, norm).ceil()
    some_open = 0
    at_borders = torch.cat([needed, needed - 1]).int().unique().tolist()
    for levels in [levels for levels in at_borders if levels > 0]:
        found = attacked(FabTargeted(Ball(norm, levels), 4), model)
        assert torch.equal(found.broken, needed <= levels), levels
        some_open += int((~found.broken).sum())
    assert some_open > 0


@pytest.mark.parametrize("classes", [2, 4])
def test_in_l2_a_linear_model_is_broken_where_the_levels_reach_but_for_the_lattice(
    classes: int,
) -> None:
    model = linear(classes)
    least = model.smallest(Norm.L2)
    close = 0
    for levels in range(2, int(least.max()) + 5, 3):
        found = attacked(FabTargeted(Ball(Norm.L2, levels), 6), model)
        assert not found.broken[least > levels].any()
        # Values are off by less than a level each, along a direction of 40 values: by half of √40
        # at most where they are off by half a level on average.
        assert found.broken[least + 0.5 * 40**0.5 <= levels].all()
        close += int(found.broken[least + 1 <= levels].all())
    assert close > 0


def test_the_nearest_border_is_found_where_its_class_is_not_the_likeliest() -> None:
    weight = torch.zeros(3, 2, 4, 5)
    weight[1, 0, 0, 0], weight[2, 0, 0, 1] = 1.0, 20.0
    x = torch.full((1, 2, 4, 5), 128 / 255)
    bias = torch.tensor([0.0, -0.3, -0.6]) - (x * weight).sum(dim=(1, 2, 3))
    model = Linear(weight, bias, x, torch.zeros(1, dtype=torch.int64))
    # Class 2 needs 0.6 / 20 = 7.65 levels, class 1 0.3 = 76.5.
    for levels, broken in ((7, False), (8, True), (76, True)):
        found = attacked(FabTargeted(Ball(Norm.L2, levels), 5), model)
        assert found.broken.tolist() == [broken]
    assert not attacked(FabTargeted(Ball(Norm.L2, 60), 5, restarts=1), model).broken.any()
    found = attacked(FabTargeted(Ball(Norm.L2, 60), 5), model)
    assert found.restart.tolist() == [1]
    assert (found.adversarial != x).nonzero().tolist() == [[0, 0, 0, 1]]
    # 1.05 times 7.65 is 8.04, in whole levels 8.
    assert change_levels(found, x, Norm.L2).tolist() == pytest.approx([8.0], abs=1e-4)


@pytest.mark.parametrize("norm", Norm)
def test_values_at_a_bound_leave_the_change_to_the_others(norm: Norm) -> None:
    weight = torch.ones(2, 1, 2, 4)
    weight[0] = 0
    x = torch.full((1, 1, 2, 4), 100 / 255)
    x[:, :, 0] = 0
    model = Linear(weight, torch.tensor([0.0, -1.0]), x, torch.ones(1, dtype=torch.int64))
    # Four values of 100 must fall from 400 below 255 levels in all: by 145 / 4 = 36.25 each.
    # In L1 two of them do.
    enough, too_few = {Norm.LINF: (37, 36), Norm.L2: (74, 72), Norm.L1: (147, 145)}[norm]
    found = attacked(FabTargeted(Ball(norm, enough), 5), model)
    assert found.broken.all()
    assert torch.equal(found.adversarial[:, :, 0], x[:, :, 0])
    assert not attacked(FabTargeted(Ball(norm, too_few), 5), model).broken.any()


def test_each_wrong_class_is_aimed_at_once() -> None:
    # Without a gradient an iteration is enough to see that there is no way.
    x = torch.full((5, 2, 4, 5), 128 / 255)
    flat = Linear(
        torch.zeros(3, 2, 4, 5), torch.tensor([1.0, 0, 0]), x, torch.zeros(5, dtype=torch.int64)
    )
    ball = Ball(Norm.LINF, 4)
    found = attacked(FabTargeted(ball, restarts=2), flat)
    assert not found.broken.any()
    assert torch.equal(found.adversarial, flat.x)
    # One pass with a gradient, one look at where it leads, and one at a picture in the ball.
    assert found.forwards.tolist() == [1 + 2 * 3] * 5
    assert found.backwards.tolist() == [2] * 5
    # Seven beginnings more have no class, and nothing is asked.
    more = attacked(FabTargeted(ball, restarts=9), flat)
    assert more.forwards.tolist() == [1 + 2 * 3] * 5
    assert more.backwards.tolist() == [2] * 5


@pytest.mark.parametrize("norm", Norm)
def test_what_is_found_lies_in_the_ball(norm: Norm) -> None:
    model, x = conv_network(), lattice_pictures(24)
    y = model(x).argmax(dim=1)
    ball = Ball(norm, {Norm.LINF: 6, Norm.L2: 24, Norm.L1: 60}[norm])
    found = attack_rows(
        FabTargeted(ball, 12), model, x, y, torch.arange(len(x)), rows_per_call=8, capacity=24
    )
    assert 0 < found.broken.sum() < len(x)
    change = ((found.adversarial - x).double() * 255).round().flatten(1)
    size = torch.linalg.vector_norm(change, ord=ORDER[norm], dim=1)
    assert (size <= ball.levels + 1e-9).all()


@pytest.mark.parametrize("norm", Norm)
def test_rows_do_not_depend_on_their_neighbours(norm: Norm) -> None:
    ball = Ball(norm, {Norm.LINF: 12, Norm.L2: 60, Norm.L1: 200}[norm])
    assert_rows_do_not_depend_on_their_neighbours(FabTargeted(ball, 8))


@pytest.mark.parametrize("norm", Norm)
def test_what_is_recorded_can_be_stored_and_is_wrong(norm: Norm) -> None:
    ball = Ball(norm, {Norm.LINF: 255, Norm.L2: 1500, Norm.L1: 9000}[norm])
    assert_what_is_recorded_can_be_stored_and_is_wrong(FabTargeted(ball, 20))
