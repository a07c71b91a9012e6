"""Auto-PGD against the paper's algorithm 1, written anew for one row in NumPy and float64."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Literal

import numpy as np
import pytest
import torch
from attack_driver import FreeBall, conv_network, drive, lattice_pictures, some_rows
from linear_models import classifier_with_margin
from torch import Tensor

from pipeline.attacks.base import Loss, Norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.apgd import Apgd, checkpoints
from pipeline.errors import UserError

SHAPE = (1, 3, 3)
LEAD = np.array([8.0, 0.0, 0.0, 0.0, 0.0])
LossName = Literal["ce", "dlr", "targeted"]
# Of a point ``[D]``: the loss and its gradient.
Valued = Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Tanh:
    """Logits ``V tanh(W x + b)`` of five classes in float64: smooth, and bent within the ball.

    Class 0 leads by 8 more, so that no picture of the ball is answered otherwise: the ratio of a
    wrong answer may be constant, and then rounding alone gives its gradient a direction.
    """

    w: np.ndarray  # [6, D]
    b: np.ndarray  # [6]
    v: np.ndarray  # [5, 6]

    @staticmethod
    def of(seed: int) -> "Tanh":
        generator = np.random.default_rng(seed)
        w, b = generator.standard_normal((6, 9)) * 2, generator.standard_normal(6)
        return Tanh(w, b, generator.standard_normal((5, 6)))

    def __call__(self, x: Tensor) -> Tensor:
        w, b, v, lead = (torch.from_numpy(a) for a in (self.w, self.b, self.v, LEAD))
        return torch.tanh((x.flatten(1).double() - 0.5) @ w.T + b) @ v.T + lead

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The logits ``[5]`` at ``[D]`` and their Jacobian ``[5, D]``, by hand."""
        hidden = np.tanh(self.w @ (x - 0.5) + self.b)
        return self.v @ hidden + LEAD, self.v @ ((1 - hidden**2)[:, None] * self.w)


def valued(model: Tanh, y: int, target: int, name: LossName) -> Valued:
    """The loss and its gradient by the quotient rule."""

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        z, jacobian = model.at(x)
        if name == "ce":
            p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
            return float(-np.log(p[y])), p @ jacobian - jacobian[y]
        rank = np.argsort(-z)
        if name == "dlr":
            other = rank[1] if rank[0] == y else rank[0]
            below = z[rank[0]] - z[rank[2]]
            below_slope = jacobian[rank[0]] - jacobian[rank[2]]
        else:
            other = target
            below = z[rank[0]] - (z[rank[2]] + z[rank[3]]) / 2
            below_slope = jacobian[rank[0]] - (jacobian[rank[2]] + jacobian[rank[3]]) / 2
        above = z[other] - z[y]
        slope = ((jacobian[other] - jacobian[y]) * below - above * below_slope) / below**2
        return float(above / below), slope

    return loss


def looks(steps: int) -> list[int]:
    """``w_j = ⌈p_j N⌉``, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), exactly."""
    p = [Fraction(0), Fraction(22, 100)]
    while p[-1] + max(p[-1] - p[-2] - Fraction(3, 100), Fraction(6, 100)) <= 1:
        p.append(p[-1] + max(p[-1] - p[-2] - Fraction(3, 100), Fraction(6, 100)))
    return [ceil(share * steps) for share in p[1:]]


def algorithm_1(
    loss: Valued, start: np.ndarray, clean: np.ndarray, norm: Norm, eps: float, steps: int
) -> tuple[list[np.ndarray], list[int]]:
    """The points x_0 ... x_N at which the loss is asked, and the looks that halved the step.

    A look comes when its point's loss is known, and the best point takes that point's place: it is
    what the next step starts from and what the momentum after that is measured from. This is the
    order of the authors' own program; the listing in the paper evaluates one point more in between.
    """

    def project(x: np.ndarray) -> np.ndarray:
        delta = x - clean
        if norm is Norm.LINF:
            return np.clip(clean + np.clip(delta, -eps, eps), 0, 1)
        length = np.sqrt((delta**2).sum())
        return np.clip(clean + delta * min(1.0, eps / max(length, 1e-300)), 0, 1)

    def direction(g: np.ndarray) -> np.ndarray:
        return np.sign(g) if norm is Norm.LINF else g / np.sqrt((g**2).sum())

    eta, w, halved = 2 * eps, [0, *looks(steps)], []
    x = [start]  # x_k, or what took its place
    asked = [start]
    f, g = loss(start)
    values = [f]  # of the points asked about
    f_max, x_max, g_max = f, start, g
    # η and the best value as they were at the last look
    eta_then, f_max_then = eta, f_max
    x.append(project(x[0] + eta * direction(g)))
    for k in range(1, steps + 1):
        asked.append(x[k])
        f, g = loss(x[k])
        values.append(f)
        if f > f_max:
            f_max, x_max, g_max = f, x[k], g
        if k == steps:
            break
        if k in w:
            since = range(w[w.index(k) - 1], k)
            rises = sum(values[i + 1] > values[i] for i in since)
            few = rises < 0.75 * len(since)
            stuck = eta == eta_then and f_max == f_max_then
            eta_then, f_max_then = eta, f_max
            if few or stuck:
                eta /= 2
                x[k], g = x_max, g_max
                halved.append(k)
        z = project(x[k] + eta * direction(g))
        x.append(project(x[k] + 0.75 * (z - x[k]) + 0.25 * (x[k] - x[k - 1])))
    return asked, halved


@pytest.mark.parametrize("loss", ["ce", "dlr", "targeted"])
@pytest.mark.parametrize(("norm", "levels"), [(Norm.LINF, 40), (Norm.L2, 150)])
def test_every_picture_asked_about_is_that_of_the_papers_algorithm(
    norm: Norm, levels: int, loss: LossName
) -> None:
    for seed in range(3):
        model, clean = Tanh.of(seed), lattice_pictures(5, SHAPE, seed).double()
        y = torch.zeros(5, dtype=torch.int64)
        # Without the lattice, where a last bit may make a whole level.
        attack = Apgd(FreeBall(norm, levels), 100, loss)
        asked, _, _ = drive(attack, model, clean, y)
        for row in range(5):
            order = np.argsort(-model.at(clean[row].flatten().numpy())[0])
            expected, halved = algorithm_1(
                valued(model, 0, int(order[1]), loss),
                asked[0][row].double().flatten().numpy(),
                clean[row].flatten().numpy(),
                norm,
                levels / 255,
                100,
            )
            found = np.stack([picture[row].flatten().numpy() for picture in asked])
            np.testing.assert_allclose(found, np.stack(expected), rtol=0, atol=1e-6)
            assert halved  # else the way back to the best point was not taken


@dataclass(frozen=True)
class Told:
    """`Queries` that answer with a value told beforehand, and a gradient of ones."""

    value: float

    def logits(self, x: Tensor, *, record: bool = True) -> Tensor:
        raise NotImplementedError

    def gradient(
        self, x: Tensor, loss: Loss, *others: Tensor, wanted: Tensor, record: bool = True
    ) -> tuple[Tensor, Tensor]:
        return torch.full((x.shape[0],), self.value), torch.ones_like(x)


def looks_that_halve(values: list[float]) -> list[int]:
    """Of a run of 100 steps whose losses are these 101, the steps at which η is halved."""
    attack, clean = Apgd(Ball(Norm.LINF, 8), 100), lattice_pictures(1)
    state = attack.begin(some_rows(clean))
    sizes = [float(state["step_size"])]
    assert sizes[0] == pytest.approx(2 * 8 / 255)
    for step, value in enumerate(values):
        state = attack.step(some_rows(clean, step=step), state, Told(value)).state
        sizes.append(float(state["step_size"]))
    for before, after in pairwise(sizes):
        assert after in (before, before / 2)
    return [step for step in range(101) if sizes[step + 1] < sizes[step]]


def test_a_loss_that_rises_always_never_halves_the_step() -> None:
    assert looks_that_halve([float(k) for k in range(101)]) == []


def test_a_loss_that_never_rises_halves_the_step_at_every_look() -> None:
    expected = [22, 41, 57, 70, 80, 87, 93, 99]
    assert looks_that_halve([float(-k) for k in range(101)]) == expected
    assert looks_that_halve([0.0] * 101) == expected


def test_condition_1_halves_where_fewer_than_three_quarters_of_the_steps_rose() -> None:
    # Between the looks at 41 and 57 are 16 steps: 12 that rise are enough, 11 are not.
    for falls, expected in ((4, []), (5, [57])):
        values = [float(k) for k in range(101)]
        for k in range(41, 41 + falls):
            values[k + 1] = values[41] - k
        # Those after them rise again, above all before.
        assert sum(values[k + 1] > values[k] for k in range(41, 57)) == 16 - falls
        assert looks_that_halve(values) == expected


def test_condition_2_halves_every_other_look_while_the_best_stays_the_first() -> None:
    # After the first step the loss rises always, yet never to where it began: condition 1 is
    # silent, and condition 2 speaks unless the last look has halved the step.
    values = [1000.0, *(float(k) for k in range(100))]
    assert looks_that_halve(values) == [22, 57, 80, 93]


def test_looks_come_at_the_papers_steps() -> None:
    assert [at for _, at in checkpoints(100)] == [22, 41, 57, 70, 80, 87, 93, 99]
    for steps in (100, 200, 1000):
        at = [at for _, at in checkpoints(steps)]
        assert at == looks(steps)
        assert [before for before, _ in checkpoints(steps)] == [0, *at[:-1]]


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 33])
def test_looks_of_few_steps_follow_one_another_up_to_the_last(steps: int) -> None:
    found = checkpoints(steps)
    assert found[0][0] == 0
    assert all(before < at <= steps for before, at in found)
    assert all(a[1] == b[0] for a, b in pairwise(found))
    # No look is missing at the end: the shortest period does not fit any more.
    assert steps - found[-1][1] < max(1, 0.22 * steps)


@pytest.mark.parametrize("random", [0, 1])
def test_linf_reaches_the_worst_corner_of_a_linear_classifier(random: int) -> None:
    model, x, y = classifier_with_margin(30.0)
    found = attack_rows(
        Apgd(Ball(Norm.LINF, 12), 10), model, x, y, torch.arange(2), seed=random, rows_per_call=2
    )
    corner = ((x * 255).round() - 12 * model.weight.sign()) / 255
    assert torch.equal(found.adversarial, corner)
    assert found.backwards.tolist() == [10, 10]
    assert found.forwards.tolist() == [1 + 11] * 2


def test_each_restart_aims_at_the_next_likeliest_wrong_class() -> None:
    logits = torch.tensor([[1.0, 5.0, 3.0, 4.0, -2.0], [2.0, 1.0, 0.0, -1.0, 9.0]])
    label = torch.tensor([1, 2])  # the second row's is not the likeliest
    aims = []
    for restart in range(4):
        rows = some_rows(lattice_pictures(2), label=label, logits=logits, restart=restart)
        aims.append(Apgd(Ball(Norm.LINF, 8), 5, "targeted", 4).begin(rows)["target"].tolist())
    assert aims == [[3, 4], [2, 0], [0, 1], [4, 3]]


def test_the_first_step_of_a_targeted_run_goes_towards_its_class() -> None:
    # Class k's logit is value k of the picture, the label's the last one.
    def model(x: Tensor) -> Tensor:
        return x.flatten(1)

    clean = torch.tensor([[90.0, 70.0, 80.0, 60.0, 100.0]]).reshape(1, 1, 1, 5) / 255
    attack = Apgd(Ball(Norm.LINF, 4), 1, "targeted", 4)
    for restart, target in enumerate([0, 2, 1, 3]):
        asked, _, _ = drive(attack, model, clean, torch.tensor([4]), restart=restart)
        change = ((asked[1] - clean) * 255).round().flatten().tolist()
        assert change[target] == 4


def test_each_restart_begins_at_another_random_point() -> None:
    network, x = conv_network(), lattice_pictures(6)
    y = torch.zeros(6, dtype=torch.int64)
    attack = Apgd(Ball(Norm.LINF, 8), 2, "ce", 3)
    starts = [drive(attack, network, x, y, restart=r)[0][0] for r in range(3)]
    assert not torch.equal(starts[0], x)
    assert not torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[1], starts[2])


def test_l1_is_a_user_error() -> None:
    with pytest.raises(UserError, match="no step for the norm l1; use pgd"):
        Apgd(Ball(Norm.L1, 100))


@pytest.mark.parametrize(("loss", "least"), [("ce", 2), ("dlr", 3), ("targeted", 4)])
def test_too_few_classes_for_a_loss_are_a_user_error(loss: LossName, least: int) -> None:
    x, rows = lattice_pictures(8), torch.arange(8)
    for classes in range(2, 5):
        network = conv_network(classes=classes)
        with torch.no_grad():
            y = network(x).argmax(dim=1)
        attack = Apgd(Ball(Norm.LINF, 2), 2, loss)
        if classes < least:
            with pytest.raises(UserError, match=f"needs {least} classes, there are {classes}"):
                attack_rows(attack, network, x, y, rows, rows_per_call=8)
        else:
            attack_rows(attack, network, x, y, rows, rows_per_call=8)
