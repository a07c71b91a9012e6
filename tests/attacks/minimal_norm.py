"""What attacks for the smallest change are checked against: linear models, whose answer is known,
and what each promises on any model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.attacks.base import Norm, StepAttack, row_norm
from pipeline.attacks.engine.loop import Attacked, attack_rows
from pipeline.perturbation_terms import MARGIN

DUAL = {Norm.LINF: Norm.L1, Norm.L2: Norm.L2, Norm.L1: Norm.LINF}


@dataclass(frozen=True)
class Linear:
    """Logits ``<w_k, x> + b_k``, and pictures far from the box."""

    weight: Tensor  # [K, C, H, W]
    bias: Tensor  # [K]
    x: Tensor  # [N, C, H, W]
    y: Tensor  # [N]

    def __call__(self, x: Tensor) -> Tensor:
        return (x[:, None] * self.weight).sum(dim=(2, 3, 4)) + self.bias

    def smallest(self, norm: Norm) -> Tensor:
        """The least norm at which another class leads by MARGIN, in levels, ``[N]``.

        ``min_k (z_y - z_k + MARGIN) / ||w_y - w_k||_*``, with the dual norm.
        """
        logits = self(self.x).double()
        own = logits.gather(1, self.y[:, None])
        between = (self.weight[self.y][:, None] - self.weight).double()
        slope = torch.stack([row_norm(b, DUAL[norm]).flatten() for b in between])
        missing = (own - logits + MARGIN).scatter(1, self.y[:, None], torch.inf)
        return (missing / slope).amin(dim=1) * 255


def linear(
    classes: int, num: int = 12, seed: int = 0, shape: tuple[int, ...] = (2, 4, 5)
) -> Linear:
    """Pictures whose smallest changes are some 3 to 70 levels long in L2, and logits that lead by
    as much as a trained classifier's: 5 to 20."""
    generator = torch.Generator().manual_seed(seed)
    weight = 10 * torch.randn(classes, *shape, generator=generator)
    # Values of a quarter to three quarters, so that the box cuts nothing.
    x = (torch.rand(num, *shape, generator=generator) * 127 + 64).round() / 255
    centred = -(weight * 0.5).sum(dim=(1, 2, 3))
    logits = (x[:, None] * weight).sum(dim=(2, 3, 4)) + centred
    return Linear(weight, centred, x, logits.argmax(dim=1))


def flat() -> Linear:
    """A model without a gradient: class 0 leads by 1, whatever it is asked; and five pictures."""
    x = torch.full((5, 2, 4, 5), 128 / 255)
    bias, labels = torch.tensor([1.0, 0, 0]), torch.zeros(5, dtype=torch.int64)
    return Linear(torch.zeros(3, 2, 4, 5), bias, x, labels)


def attacked(attack: StepAttack, model: Linear) -> Attacked:
    """All of the model's pictures, in small calls."""
    return attack_rows(attack, model, model.x, model.y, torch.arange(len(model.x)), rows_per_call=8)


def change_levels(found: Attacked, x: Tensor, norm: Norm) -> Tensor:
    """The norms of what was found, in levels, float64 ``[N]``."""
    return row_norm((found.adversarial - x).double() * 255, norm).flatten()


def network_and_pictures(num: int = 30, seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    """A small network, pictures with values at the bounds, its own answers, three made wrong."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)
    ).requires_grad_(False)
    x = (torch.rand(num, 1, 6, 6) * 1.5 - 0.25).clamp(0, 1)
    x = (x * 255).round() / 255
    y = model(x).argmax(dim=1)
    y[:3] = (y[:3] + 1) % 5
    return model, x, y


def assert_rows_do_not_depend_on_their_neighbours(attack: StepAttack) -> None:
    """Other orders and capacities, so other rows beside each at other steps: the same bits."""
    model, x, y = network_and_pictures(14)
    rows = torch.arange(len(x))
    wanted = attack_rows(attack, model, x, y, rows, rows_per_call=8)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    for capacity in (1, 5, 20):
        found = attack_rows(
            attack, model, x[order], y[order], rows[order], rows_per_call=8, capacity=capacity
        )
        for name in ("adversarial", "margin", "step", "forwards", "backwards"):
            assert torch.equal(getattr(found, name), getattr(wanted, name)[order]), name


def assert_what_is_recorded_can_be_stored_and_is_wrong(
    attack: StepAttack, least_broken: float = 1.0
) -> None:
    """Whole levels in the box, and wrong by more than MARGIN in a pass of its own."""
    model, x, y = network_and_pictures()
    found = attack_rows(attack, model, x, y, torch.arange(len(x)), rows_per_call=8)
    levels = (found.adversarial.double() * 255).round()
    assert torch.equal((levels / 255).float(), found.adversarial)
    assert levels.min() >= 0
    assert levels.max() <= 255
    logits = model(found.adversarial)
    own = logits.gather(1, y[:, None]).squeeze(1)
    margin = logits.scatter(1, y[:, None], -torch.inf).amax(dim=1) - own
    assert (margin[found.broken] > MARGIN * 0.99).all()
    assert found.clean_right.sum() == len(x) - 3
    assert found.broken[found.clean_right].float().mean() >= least_broken
    assert torch.equal(found.adversarial[:3], x[:3])
