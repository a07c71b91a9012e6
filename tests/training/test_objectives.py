"""The adversarial objectives against closed forms on a linear model, and their inner attack."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from two_logits import Linear

from pipeline.errors import UserError
from pipeline.training.draws import RowDraws
from pipeline.training.objectives.base import StepRows
from pipeline.training.objectives.inner import InnerAttack
from pipeline.training.objectives.natural import CrossEntropy
from pipeline.training.objectives.pgd import PgdTraining
from pipeline.training.objectives.trades import Trades, divergence

EPS = 25 / 255
ATTACK = InnerAttack(levels=25, steps=2, step_size=1.25)  # 2.5 ε: across the whole ball


def some_rows(numbers: range = range(32), *, low: float = 0.15, step: int = 3) -> StepRows:
    """Pictures of values from ``low`` to ``1 - low``: with 0.15 their balls lie in the box."""
    generator = torch.Generator().manual_seed(1)
    x = low + (1 - 2 * low) * torch.rand(32, 2, 3, 3, generator=generator)
    y = torch.arange(32) % 2
    own = slice(numbers.start, numbers.stop)
    return StepRows(x[own], y[own], step, RowDraws((5, step), numbers, 32))


def test_pgd_training_is_the_loss_at_the_balls_corner_in_closed_form() -> None:
    network, rows = Linear(), some_rows()
    # -log p(y) = log(1 + exp(-s f)), s = ±1, and the worst f is s ε ‖w‖₁ nearer to the other class.
    sign = 2.0 * rows.y - 1
    reach = EPS * network.weight.abs().sum()
    worst = sign * network.decision(rows.x) - reach
    loss, logits = PgdTraining(ATTACK)(network, network, rows)
    torch.testing.assert_close(loss, F.softplus(-worst).mean())
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], sign * worst)


def test_trades_is_its_closed_form_on_a_linear_model() -> None:
    network, rows = Linear(), some_rows()
    # The divergence grows with the distance from f, so its ascent ends at f ± ε ‖w‖₁, on the side
    # on which it began.
    decision = network.decision(rows.x)
    start = rows.x + EPS * (2 * some_rows().draws.uniform(2, 3, 3) - 1)
    side = (network.decision(start) - decision).sign()
    moved = decision + side * EPS * network.weight.abs().sum()
    p = torch.sigmoid(decision)
    spread = p * (F.logsigmoid(decision) - F.logsigmoid(moved))
    spread = spread + (1 - p) * (F.logsigmoid(-decision) - F.logsigmoid(-moved))
    natural = F.softplus(-(2.0 * rows.y - 1) * decision)
    loss, _ = Trades(ATTACK, beta=3.5)(network, network, rows)
    torch.testing.assert_close(loss, natural.mean() + 3.5 * spread.mean())
    assert set(side.tolist()) == {-1.0, 1.0}


def test_the_gradient_of_trades_goes_through_both_answers() -> None:
    network, rows = Linear(), some_rows()
    loss, _ = Trades(ATTACK, beta=2.0)(network, network, rows)
    (found,) = torch.autograd.grad(loss, network.bias)
    other = Linear()
    worse = ATTACK(
        other, lambda z: divergence(F.log_softmax(other(rows.x), 1).detach(), z).sum(), some_rows()
    )
    # dKL/db = p'(f) (f - f') + (q - p): the first term is what a target held fixed would lack.
    f, moved = other.decision(rows.x), other.decision(worse)
    p, q = torch.sigmoid(f), torch.sigmoid(moved)
    expected = (p - rows.y).mean() + 2.0 * (p * (1 - p) * (f - moved) + q - p).mean()
    torch.testing.assert_close(found, expected)


def test_the_inner_attack_reaches_the_corner_of_ball_and_box() -> None:
    network, rows = Linear(), some_rows(low=0.0)
    worse = ATTACK(network, lambda z: F.cross_entropy(z, rows.y, reduction="sum"), rows)
    away = -(2.0 * rows.y - 1)[:, None, None, None] * network.weight.sign().reshape(2, 3, 3)
    torch.testing.assert_close(worse, (rows.x + EPS * away).clamp(0, 1), rtol=0, atol=1e-7)
    assert float((worse == 0).float().mean()) > 0.02
    assert float((worse == 1).float().mean()) > 0.02


@pytest.mark.parametrize("step_size", [0.25, 1.0, 2.0])
def test_the_inner_attack_stays_in_ball_and_box(step_size: float) -> None:
    network, rows = Linear(), some_rows(low=0.0)
    attack = replace(ATTACK, steps=3, step_size=step_size)
    worse = attack(network, lambda z: F.cross_entropy(z, rows.y, reduction="sum"), rows)
    assert float((worse - rows.x).abs().max()) <= EPS + 1e-7
    assert float(worse.min()) >= 0
    assert float(worse.max()) <= 1
    assert not worse.requires_grad
    assert all(p.grad is None for p in network.parameters())


def test_the_radius_grows_evenly_over_the_warmup() -> None:
    attack = replace(ATTACK, warmup_steps=4)
    assert [attack.radius(step) for step in range(6)] == pytest.approx(
        [EPS / 4, EPS / 2, 3 * EPS / 4, EPS, EPS, EPS]
    )
    assert ATTACK.radius(0) == EPS
    rows = some_rows(step=0)
    worse = attack(Linear(), lambda z: F.cross_entropy(z, rows.y, reduction="sum"), rows)
    assert float((worse - rows.x).abs().max()) == pytest.approx(EPS / 4, rel=1e-5)


@pytest.mark.parametrize(
    "objective", [CrossEntropy(), PgdTraining(ATTACK), Trades(ATTACK, 6.0)], ids=lambda o: type(o)
)
def test_workers_that_share_a_batch_take_the_whole_batchs_gradient(objective: object) -> None:
    network = Linear()

    def gradient(numbers: range) -> Tensor:
        loss, _ = objective(network, network, some_rows(numbers))  # type: ignore[operator]
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, network.parameters())])

    halves = (gradient(range(16)) + gradient(range(16, 32))) / 2
    torch.testing.assert_close(halves, gradient(range(32)), rtol=1e-5, atol=1e-7)


def test_the_divergence_is_that_of_torchs_distributions() -> None:
    logits = torch.randn(2, 20, 5, generator=torch.Generator().manual_seed(2))
    p, q = (torch.distributions.Categorical(logits=z) for z in logits)
    expected = torch.distributions.kl_divergence(p, q)
    torch.testing.assert_close(divergence(F.log_softmax(logits[0], 1), logits[1]), expected)


def test_a_step_of_no_length_is_refused() -> None:
    with pytest.raises(UserError, match="attack_step_size must be above 0"):
        replace(ATTACK, step_size=0.0)
