"""Changes thinner than half a level, which rounding to the nearest levels would undo."""

import pytest
import torch
from minimal_norm import Linear, attacked, change_levels, linear
from torch import Tensor

from pipeline.attacks.base import Norm, StepAttack, row_norm
from pipeline.attacks.geometry.lattice import gap, on_lattice
from pipeline.attacks.geometry.projection import within_box
from pipeline.attacks.methods.carlini_wagner import CarliniWagner
from pipeline.attacks.methods.ddn import Ddn
from pipeline.attacks.methods.deepfool import DeepFool
from pipeline.attacks.methods.fmn import Fmn
from pipeline.attacks.methods.lbfgs import Lbfgs
from pipeline.perturbation_terms import MARGIN


def smallest_of_whole_levels(model: Linear) -> Tensor:
    """A lower bound for the L2 length of a broken change of whole levels, in levels, ``[N]``.

    Of two classes. Changing value i from n to n + 1 levels adds 2n + 1 to the squared length and
    ``|w_i| / 255`` to the lead of the other class. Taking what pays best first is the shortest
    there is, were the last one divisible; so the squared length before it is a lower bound.
    """
    logits = model(model.x).double()
    missing = logits.amax(dim=1) - logits.amin(dim=1) + MARGIN
    gain = (model.weight[0] - model.weight[1]).double().abs().flatten()[:, None] / 255
    cost = 2 * torch.arange(64).double() + 1
    order = (gain / cost).flatten().argsort(descending=True)
    reached = gain.expand(-1, 64).flatten()[order].cumsum(0)
    squared = cost.expand(gain.shape[0], 64).flatten()[order].cumsum(0)
    # The last two steps are left out, in case that the first would do.
    last = (torch.searchsorted(reached, missing) - 1).clamp_min(0)
    return squared[last].sqrt()


@pytest.mark.parametrize(
    "attack",
    [DeepFool(), Ddn(), Fmn(steps=60), Lbfgs(), CarliniWagner(100, 5, 0.003)],
    ids=lambda attack: type(attack).__name__,
)
def test_a_thin_change_is_found_about_as_short_as_whole_levels_allow(attack: StepAttack) -> None:
    model = linear(2, shape=(3, 24, 24))
    # The closed form of real numbers is half a level a value and less, and so lost to rounding.
    thin = model.smallest(Norm.L2) < 0.5 * (3 * 24 * 24) ** 0.5
    assert thin.sum() >= 6
    found = attacked(attack, model)
    assert found.broken.all()
    size, least = change_levels(found, model.x, Norm.L2), smallest_of_whole_levels(model)
    assert (size >= least - 1e-3).all()
    assert (size <= 1.06 * least + 1).all()


@pytest.mark.parametrize("norm", list(Norm))
def test_rounding_stays_in_the_box_and_within_a_level(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(1)
    clean = (torch.rand(4, 3, 5, 5, generator=generator) * 255).round() / 255
    point = clean + 0.3 * torch.randn(4, 3, 5, 5, generator=generator)
    there = on_lattice(point, clean, norm)
    levels = there.double() * 255
    assert (levels - levels.round()).abs().max() < 1e-4
    assert there.min() >= 0
    assert there.max() <= 1
    apart = ((there - point.clamp(0, 1)).abs() * 255).amax()
    assert apart <= (0.5 if norm is Norm.LINF else 1) + 1e-3
    if norm is not Norm.LINF:
        longest = row_norm(point.clamp(0, 1) - clean, norm)
        assert (row_norm(there - clean, norm) <= longest + 1e-5).all()


def test_the_gap_is_what_is_missing_until_a_row_counts_as_broken() -> None:
    logits = torch.tensor([[2.0, 0.5, -1.0], [0.0, 3.0, 1.0]])
    missing = gap(logits, torch.tensor([0, 2]))
    torch.testing.assert_close(missing, torch.tensor([1.5 + MARGIN, -2.0 + MARGIN]))


def test_within_the_box_values_at_a_bound_do_not_leave_it() -> None:
    point = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.5])
    # What falls along -gradient: up, down, up, down.
    gradient = torch.tensor([-1.0, 1.0, -1.0, 1.0, 1.0])
    assert within_box(gradient, point).tolist() == [-1.0, 0.0, 0.0, 1.0, 1.0]
