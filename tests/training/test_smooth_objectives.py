"""The objectives of smooth training against closed forms, independent sums and finite changes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional as F
from two_logits import Linear

from pipeline.errors import UserError
from pipeline.training.draws import RowDraws
from pipeline.training.objectives.ascent_l2 import AscentL2
from pipeline.training.objectives.base import Objective, StepRows
from pipeline.training.objectives.cat_rs import CatRs
from pipeline.training.objectives.consistency import Consistency
from pipeline.training.objectives.gaussian import GaussianAugmentation
from pipeline.training.objectives.noisy import NoisyCopies
from pipeline.training.objectives.smoothadv import SmoothAdv

SIGMA, NUM = 0.5, 3
COPIES = NoisyCopies(SIGMA, NUM)
ASCENT = AscentL2(0.6, steps=2, step_size=1.0)
OBJECTIVES: dict[str, Objective] = {
    "gaussian": GaussianAugmentation(COPIES),
    "consistency": Consistency(COPIES, 4.0, 0.5),
    "smoothadv": SmoothAdv(COPIES, ASCENT),
    "cat_rs": CatRs(COPIES, ASCENT, 2.0),
}


class Curved(nn.Module):
    """Five logits of a smooth function of the picture."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first = nn.Parameter(torch.randn(18, 12, generator=generator) / 3)
        self.second = nn.Parameter(torch.randn(12, 5, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x.flatten(1).to(self.first.dtype) @ self.first) @ self.second


def some_rows(numbers: range = range(32), *, classes: int = 5, step: int = 3) -> StepRows:
    """Pictures with values from 0.3 to 0.7, so that small balls of theirs lie in the box."""
    generator = torch.Generator().manual_seed(1)
    x = 0.3 + 0.4 * torch.rand(32, 2, 3, 3, generator=generator)
    own = slice(numbers.start, numbers.stop)
    return StepRows(x[own], torch.arange(32)[own] % classes, step, RowDraws((5,), numbers, 32))


def copies_of(rows: StepRows) -> Tensor:
    """The copies that an objective with `COPIES` asks about, ``[N, m, C, H, W]``."""
    return rows.x[:, None] + SIGMA * rows.draws.normal(NUM, 2, 3, 3)


def test_gaussian_augmentation_is_the_expected_loss_under_noise_of_that_sigma():
    # A linear f under noise is f + σ ‖w‖ ξ: its expected loss is an integral over one variable.
    network, rows = Linear(), some_rows(classes=2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    xi, density = torch.tensor(nodes), torch.tensor(weights / math.sqrt(2 * math.pi))
    margin = (2.0 * rows.y - 1) * network.decision(rows.x)
    spread = SIGMA * network.weight.norm()
    expected = (F.softplus(-(margin[:, None] + spread * xi)) * density).sum(1).mean()
    objective = GaussianAugmentation(NoisyCopies(SIGMA, 2000))
    loss, _ = objective(network, network, rows)
    assert spread.item() > 0.1
    # 64,000 draws of a loss whose deviation is about 0.15: 4 standard errors.
    assert loss.item() == pytest.approx(expected.item(), abs=0.003)
    silent, _ = GaussianAugmentation(NoisyCopies(1e-6, 1))(network, network, rows)
    assert abs(silent.item() - expected.item()) > 0.004


def test_consistency_is_the_divergences_and_entropy_of_torchs_distributions():
    network = Curved()
    logits = network(copies_of(some_rows()).flatten(0, 1)).unflatten(0, (32, NUM))
    each = Categorical(logits=logits)
    mean = Categorical(probs=each.probs.mean(1))
    again = Categorical(probs=mean.probs[:, None].expand(-1, NUM, -1))
    y = some_rows().y
    natural = -each.log_prob(y[:, None].expand(-1, NUM)).mean()
    expected = natural + 4.0 * kl_divergence(again, each).mean() + 0.5 * mean.entropy().mean()
    loss, shown = OBJECTIVES["consistency"](network, network, some_rows())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(shown, logits[:, 0].detach())
    found = torch.autograd.grad(loss, list(network.parameters()))
    wanted = torch.autograd.grad(expected, list(network.parameters()))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_copies_that_agree_cost_no_consistency():
    network = Linear()
    with torch.no_grad():
        network.weight.zero_()
    rows = some_rows(classes=2)
    p = torch.sigmoid(network.bias)
    entropy = -(p * p.log() + (1 - p) * (1 - p).log())
    loss, _ = Consistency(COPIES, 1000.0, 0.5)(network, network, rows)
    natural = F.softplus(-(2.0 * rows.y - 1) * network.bias).mean()
    torch.testing.assert_close(loss, natural + 0.5 * entropy, rtol=1e-4, atol=1e-4)


def test_one_step_of_smoothadv_goes_along_the_gradient_of_the_smoothed_classifiers_logarithm():
    network, eps = Curved().double(), 0.05
    rows = some_rows()
    noise = copies_of(some_rows()) - rows.x[:, None]

    def smoothed(x: Tensor) -> Tensor:  # -log G(x)_y, [N]; G is the mean of the probabilities
        answers = network((x[:, None] + noise).flatten(0, 1)).softmax(1).unflatten(0, (32, NUM))
        return -answers.mean(1).gather(1, rows.y[:, None]).log()[:, 0]

    x = rows.x.double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(smoothed(x).sum(), x)
    # The same by finite differences, so that autograd is not its own judge.
    changed = torch.eye(18, dtype=torch.float64).reshape(18, 1, 2, 3, 3) * 1e-5
    with torch.no_grad():
        finite = torch.stack(
            [(smoothed(x + d) - smoothed(x - d)) / 2e-5 for d in changed], dim=1
        ).reshape(gradient.shape)
    torch.testing.assert_close(gradient, finite, rtol=1e-6, atol=1e-8)
    unit = gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    worse = (rows.x + eps * unit).float()
    expected = F.cross_entropy(
        network((worse[:, None] + noise).flatten(0, 1)), rows.y.repeat_interleave(NUM)
    )
    loss, _ = SmoothAdv(COPIES, AscentL2(eps, 1, 1.0))(network, network, some_rows())
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    # And not along the mean of the logarithms' gradients.
    each = network((x[:, None] + noise).flatten(0, 1))
    target = rows.y.repeat_interleave(NUM)
    (other,) = torch.autograd.grad(F.cross_entropy(each, target, reduction="sum"), x)
    cosine = F.cosine_similarity(other.flatten(1), gradient.flatten(1))
    assert float(cosine.min()) < 0.99


def test_smoothadv_on_a_linear_model_is_its_closed_form():
    network, rows = Linear(), some_rows(classes=2)
    margin = (2.0 * rows.y - 1) * network.decision(rows.x)
    sign = (2.0 * rows.y - 1)[:, None]
    noise = copies_of(some_rows(classes=2)) - rows.x[:, None]
    under = sign * (noise.flatten(2) @ network.weight)
    eps = 0.2  # within the box
    worst = margin[:, None] + under - eps * network.weight.norm()
    objective = SmoothAdv(COPIES, AscentL2(eps, 2, 1.25))
    loss, _ = objective(network, network, some_rows(classes=2))
    torch.testing.assert_close(loss, F.softplus(-worst).mean())


def test_cat_rs_is_its_definition_summed_row_by_row():
    network, weight = Linear(low=0.4), 2.0
    rows = some_rows(classes=2)
    objective = CatRs(COPIES, AscentL2(0.3, 1, 1.0), weight)
    loss, _ = objective(network, network, rows)
    again = some_rows(classes=2)
    noisy = copies_of(again)
    uniform = again.draws.uniform(NUM)
    unit = (network.weight / network.weight.norm()).detach()
    total, firm = torch.zeros(()), 0
    for x, y, u in zip(noisy, again.y.tolist(), uniform, strict=True):
        f = network.decision(x)  # the m copies
        sure = float(((f > 0).long() == y).float().mean())
        kept = max(1, int((u < sure).sum()))
        losses = F.softplus(-(2 * y - 1) * f).sort().values
        total = total + losses[:kept].sum() / NUM
        if kept < NUM:
            continue
        firm += 1
        p = torch.sigmoid(f).mean().detach()
        # The divergence grows away from p, on the side on which a copy is.
        side = (torch.sigmoid(f) - p).sign().detach()
        moved = f + 0.3 * side * (unit @ network.weight)
        q = torch.sigmoid(moved)
        kl = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
        total = total + weight * kl.max()
    torch.testing.assert_close(loss, total / 32)
    assert 3 < firm < 29
    found = torch.autograd.grad(loss, list(network.parameters()))
    wanted = torch.autograd.grad(total / 32, list(network.parameters()))
    torch.testing.assert_close(found, wanted)


def test_cat_rs_asks_for_no_worst_copy_where_no_answer_is_right():
    network = Linear()
    rows = some_rows(classes=2)
    with torch.no_grad():
        network.weight.zero_()
    wrong = replace(rows, y=torch.zeros_like(rows.y))  # f = b > 0: the other class
    loss, _ = CatRs(COPIES, ASCENT, 1000.0)(network, network, wrong)
    torch.testing.assert_close(loss, F.softplus(network.bias) / NUM)  # one copy of three


@pytest.mark.parametrize("boxed", [True, False])
def test_the_ascent_ends_in_the_ball_and_at_its_border_where_the_loss_is_linear(boxed: bool):
    generator = torch.Generator().manual_seed(2)
    centre = torch.rand(6, 2, 3, 3, generator=generator)
    direction = torch.randn(2, 3, 3, generator=generator)
    eps = 0.4
    found = AscentL2(eps, 4, 0.7)(lambda x: (x * direction).sum(), centre, 0, boxed=boxed)
    size = (found - centre).flatten(1).norm(dim=1)
    assert float(size.max()) <= eps + 1e-6
    if boxed:
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        assert float(((found - centre) * direction).sum()) > 0
    else:
        torch.testing.assert_close(found, centre + eps * direction / direction.norm())
    still = AscentL2(eps, 2)(lambda x: (0 * x).sum(), centre, 0, boxed=boxed)
    assert torch.equal(still, centre)  # no direction is better: none is made up
    grown = replace(AscentL2(eps), warmup_steps=4)
    assert [grown.radius(step) for step in (0, 1, 3, 9)] == pytest.approx([0.1, 0.2, 0.4, 0.4])


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_workers_that_share_a_batch_take_the_whole_batchs_gradient(objective: Objective):
    network = Curved()

    def gradient(numbers: range) -> Tensor:
        loss, logits = objective(network, network, some_rows(numbers))
        assert logits.shape == (len(numbers), 5)
        assert not logits.requires_grad
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, network.parameters())])

    halves = (gradient(range(16)) + gradient(range(16, 32))) / 2
    torch.testing.assert_close(halves, gradient(range(32)), rtol=1e-4, atol=1e-6)
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_the_data_parallel_network_is_called_once(objective: Objective):
    network, calls = Curved(), []

    def parallel(x: Tensor) -> Tensor:
        calls.append(len(x))
        return network(x)

    objective(network, parallel, some_rows())  # type: ignore[arg-type]
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: NoisyCopies(0.0, 2), "noise_sigma must be a number above 0"),
        (lambda: NoisyCopies(math.nan, 2), "noise_sigma must be a number above 0"),
        (lambda: NoisyCopies(0.5, 0), "noise_draws must be at least 1"),
        (lambda: Consistency(NoisyCopies(0.5, 1), 10.0, 0.5), "noise_draws must be at least 2"),
        (lambda: AscentL2(0.0), "eps_l2 must be above 0"),
        (lambda: AscentL2(1.0, step_size=3.0), "attack_step_size must be above 0 and at most 2"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: object, message: str):
    with pytest.raises(UserError, match=message):
        wrong()  # type: ignore[operator]
