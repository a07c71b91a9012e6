"""The attacks against closed-form answers on linear classifiers, and what they promise on any."""

import pytest
import torch
from linear_models import TwoClassLinear, classifier_with_margin
from torch import Tensor, nn

from pipeline.attacks.ascent import ascent
from pipeline.attacks.base import Norm, input_gradient
from pipeline.attacks.fgsm import fgsm
from pipeline.attacks.pgd import pgd, random_start
from pipeline.fixed_batch import in_fixed_batches

ROWS = torch.tensor([3, 8])


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)
    )


def pictures(num: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(num, 1, 6, 6, generator=generator)
    return x, torch.randint(0, 4, (num,), generator=generator)


def test_input_gradient_of_a_linear_classifier_is_the_analytic_one() -> None:
    model, x, y = classifier_with_margin(0.7)
    # ℓ = log(1 + exp(-m)), so ∇_x ℓ = -w / (1 + exp(m))
    expected = -model.weight / (1 + torch.exp(torch.tensor(0.7)))
    torch.testing.assert_close(input_gradient(model, x, y), expected.expand_as(x))


def test_ascent_adds_alpha_times_the_gradient_itself() -> None:
    model, x, y = classifier_with_margin(0.7)
    gradient = -model.weight / (1 + torch.exp(torch.tensor(0.7)))
    moved = ascent(model, x, y, step_size=0.03)
    torch.testing.assert_close(moved - x, (0.03 * gradient).expand_as(x), rtol=1e-4, atol=1e-7)


def test_two_ascent_steps_take_the_second_gradient_at_the_new_point() -> None:
    model, x, y = classifier_with_margin(0.2)
    first = x - 0.02 * model.weight / (1 + model.margin(x).exp()).reshape(-1, 1, 1, 1)
    second = first - 0.02 * model.weight / (1 + model.margin(first).exp()).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(ascent(model, x, y, step_size=0.02, steps=2), second)


def test_ascent_without_a_box_leaves_it_and_with_one_does_not() -> None:
    model, x, y = classifier_with_margin(0.7)
    free = ascent(model, x, y, step_size=10.0, box=False)
    assert free.min() < 0
    assert free.max() > 1
    torch.testing.assert_close(ascent(model, x, y, step_size=10.0), free.clamp(0, 1))


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_linf_attacks_reach_the_worst_corner_of_the_ball(attack: str) -> None:
    model, x, y = classifier_with_margin(1.0)
    eps = 0.05
    found = (
        fgsm(model, x, y, eps=eps)
        if attack == "fgsm"
        else pgd(model, x, y, eps=eps, steps=10, rows=ROWS, seed=4)
    )
    torch.testing.assert_close(found, x - eps * model.weight.sign(), rtol=0, atol=1e-6)
    # closed form: the margin falls by eps ||w||_1
    expected = 1.0 - eps * float(model.weight.abs().sum())
    torch.testing.assert_close(model.margin(found), torch.full((2,), expected), rtol=0, atol=1e-4)


def test_linf_worst_corner_is_cut_by_the_box() -> None:
    model, x, y = classifier_with_margin(1.0)
    eps = 0.55
    corner = (x - eps * model.weight.sign()).clamp(0, 1)
    torch.testing.assert_close(fgsm(model, x, y, eps=eps), corner)
    torch.testing.assert_close(pgd(model, x, y, eps=eps, steps=10, rows=ROWS), corner)


def test_l2_pgd_reaches_the_point_of_the_sphere_against_w() -> None:
    model, x, y = classifier_with_margin(1.0)
    eps = 0.3
    expected = x - eps * model.weight / torch.linalg.vector_norm(model.weight)
    from_x = pgd(model, x, y, eps=eps, norm=Norm.L2, steps=4)
    torch.testing.assert_close(from_x, expected, rtol=0, atol=1e-6)
    # From a random start the part across w shrinks by a constant factor each step.
    from_anywhere = pgd(
        model, x, y, eps=eps, norm=Norm.L2, steps=40, step_size=eps, rows=ROWS, seed=1
    )
    torch.testing.assert_close(from_anywhere, expected, rtol=0, atol=1e-5)


def dual_norm(weight: Tensor, norm: Norm) -> float:
    if norm is Norm.LINF:
        return float(weight.abs().sum())
    return float(torch.linalg.vector_norm(weight))


@pytest.mark.parametrize("norm", list(Norm))
def test_a_linear_classifier_flips_exactly_at_margin_over_dual_norm(norm: Norm) -> None:
    model, x, y = classifier_with_margin(0.5)
    smallest = 0.5 / dual_norm(model.weight, norm)
    below = pgd(model, x, y, eps=0.999 * smallest, norm=norm, steps=10)
    above = pgd(model, x, y, eps=1.001 * smallest, norm=norm, steps=10)
    assert (model.margin(below) > 0).all()
    assert (model.margin(above) < 0).all()


def test_fgsm_flips_a_linear_classifier_exactly_at_margin_over_l1_norm() -> None:
    model, x, y = classifier_with_margin(0.5)
    smallest = 0.5 / dual_norm(model.weight, Norm.LINF)
    assert (model.margin(fgsm(model, x, y, eps=0.999 * smallest)) > 0).all()
    assert (model.margin(fgsm(model, x, y, eps=1.001 * smallest)) < 0).all()


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("eps", [0.01, 0.3, 2.0])
def test_results_stay_in_ball_and_box(norm: Norm, eps: float) -> None:
    model, (x, y) = small_network(), pictures(12)
    x[0], x[1] = 0.0, 1.0  # pictures on the box's corners
    rows = torch.arange(12)
    found = [
        pgd(model, x, y, eps=eps, norm=norm, steps=7, rows=rows, seed=2),
        ascent(model, x, y, step_size=100.0, steps=3, eps=eps, norm=norm),
        random_start(x, eps=eps, norm=norm, seed=5, rows=rows),
    ]
    if norm is Norm.LINF:
        found.append(fgsm(model, x, y, eps=eps))
    for adversarial in found:
        delta = (adversarial - x).flatten(1)
        length = delta.abs().amax(1) if norm is Norm.LINF else delta.norm(dim=1)
        assert (length <= eps * (1 + 1e-5) + 1e-6).all()
        assert adversarial.min() >= 0
        assert adversarial.max() <= 1


def test_random_start_fills_the_ball_evenly() -> None:
    num, eps = 4000, 0.2
    x = torch.full((num, 1, 1, 3), 0.5)
    rows = torch.arange(num)
    cube = random_start(x, eps=eps, norm=Norm.LINF, seed=0, rows=rows) - x
    assert cube.mean().abs() < 4 * eps / (3 * 3 * num) ** 0.5
    torch.testing.assert_close(cube.var(), torch.tensor(eps**2 / 3), rtol=0.05, atol=0)
    radius = (random_start(x, eps=eps, norm=Norm.L2, seed=0, rows=rows) - x).flatten(1).norm(dim=1)
    # (r / eps)³ is uniform in three dimensions
    uniform = (radius / eps) ** 3
    assert abs(float(uniform.mean()) - 0.5) < 4 / (12 * num) ** 0.5
    assert float(uniform.max()) <= 1 + 1e-5


@pytest.mark.parametrize("norm", list(Norm))
def test_pgd_result_of_a_row_is_independent_of_neighbours_order_and_cut(norm: Norm) -> None:
    model, (x, y) = small_network(), pictures(23)
    rows = torch.arange(100, 123)

    def attack(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return pgd(model, a, b, eps=0.1, norm=norm, steps=5, seed=9, rows=c)

    together = in_fixed_batches(attack, x, y, rows, rows_per_call=8)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(1))
    shuffled = in_fixed_batches(attack, x[order], y[order], rows[order], rows_per_call=8)
    assert torch.equal(shuffled, together[order])
    for row in (0, 11, 22):
        part = slice(row, row + 1)
        alone = in_fixed_batches(attack, x[part], y[part], rows[part], rows_per_call=8)
        assert torch.equal(alone, together[part])


def test_random_starts_differ_by_row_and_by_seed() -> None:
    x = torch.full((2, 1, 4, 4), 0.5)
    start = random_start(x, eps=0.1, norm=Norm.LINF, seed=0, rows=torch.tensor([0, 1]))
    again = random_start(x, eps=0.1, norm=Norm.LINF, seed=1, rows=torch.tensor([0, 1]))
    assert not torch.equal(start[0], start[1])
    assert not torch.equal(start, again)


def test_attacks_leave_parameters_without_gradients_and_inputs_untouched() -> None:
    model, (x, y) = small_network(), pictures(4)
    before = x.clone()
    pgd(model, x, y, eps=0.1, steps=2, rows=torch.arange(4))
    fgsm(model, x, y, eps=0.1)
    ascent(model, x, y, step_size=1.0)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_attacks_work_where_gradients_are_switched_off() -> None:
    model, x, y = classifier_with_margin(1.0)
    with torch.no_grad():
        found = fgsm(model, x, y, eps=0.05)
    assert not torch.equal(found, x)
    assert not found.requires_grad


def test_attacks_raise_the_loss_of_a_network() -> None:
    model, (x, y) = small_network(), pictures(16)

    def loss(a: Tensor) -> float:
        return nn.functional.cross_entropy(model(a), y).item()

    eps = 0.05
    by_fgsm = loss(fgsm(model, x, y, eps=eps))
    by_pgd = loss(pgd(model, x, y, eps=eps, steps=20, rows=torch.arange(16)))
    by_ascent = loss(ascent(model, x, y, step_size=0.1, steps=5, eps=eps, norm=Norm.LINF))
    assert loss(x) < by_ascent <= by_pgd + 1e-6
    assert loss(x) < by_fgsm <= by_pgd + 1e-6


def test_eps_zero_changes_nothing() -> None:
    model, x, y = classifier_with_margin(1.0)
    assert torch.equal(fgsm(model, x, y, eps=0.0), x)
    for norm in Norm:
        assert torch.equal(pgd(model, x, y, eps=0.0, norm=norm, steps=2, rows=ROWS), x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.full((2, 2, 4, 5), 1.5)}, "must lie in"),
        ({"x": torch.full((2, 2, 4, 5), float("nan"))}, "must lie in"),
        ({"x": torch.zeros(2, 2, 4, 5, dtype=torch.float64)}, "float32"),
        ({"y": torch.ones(3, dtype=torch.int64)}, "y must be"),
        ({"eps": -0.1}, "eps must be"),
        ({"eps": float("nan")}, "eps must be"),
        ({"steps": 0}, "steps must be"),
    ],
)
def test_what_an_attack_cannot_mean_is_refused(change: dict[str, object], message: str) -> None:
    model = TwoClassLinear(torch.ones(2, 4, 5), 0.0)
    arguments: dict[str, object] = {
        "x": torch.full((2, 2, 4, 5), 0.5),
        "y": torch.ones(2, dtype=torch.int64),
        "eps": 0.1,
        "steps": 1,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        pgd(model, **arguments)  # type: ignore[arg-type]
