"""Smaller calls are made where they answer bit for bit as the full one does, and nowhere else."""

from collections.abc import Callable

import pytest
import torch
from attack_driver import conv_network, lattice_pictures
from torch import Tensor

from pipeline.attacks.base import Norm
from pipeline.attacks.engine.call_sizes import smaller_calls
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.pgd import Pgd

LIKE = lattice_pictures(1)


def rowwise(x: Tensor) -> Tensor:
    """Logits whose bits cannot depend on other rows."""
    return torch.stack((x[:, 0, 0, 0], x[:, 0, 1, 1] ** 2), dim=1)


def by_size(x: Tensor) -> Tensor:
    return rowwise(x) * (1 + 1e-6 * (x.shape[0] < 16))


def in_its_gradient_alone(x: Tensor) -> Tensor:
    noise = rowwise(x) * 1e-3
    return rowwise(x) + (noise - noise.detach()) * (x.shape[0] < 16)


def refusing(x: Tensor) -> Tensor:
    if x.shape[0] < 32:
        raise RuntimeError("this model wants 32 pictures")
    return rowwise(x)


@pytest.mark.parametrize(
    ("model", "rows_per_call", "sizes"),
    [
        (rowwise, 64, (32, 16, 8)),
        (rowwise, 40, (20, 10)),
        (rowwise, 15, ()),
        (rowwise, 8, ()),
        (by_size, 64, ()),
        (by_size, 32, ()),
        (in_its_gradient_alone, 64, ()),
        (refusing, 64, ()),
    ],
)
def test_halves_down_to_eight_where_all_of_them_agree(
    model: Callable[[Tensor], Tensor], rows_per_call: int, sizes: tuple[int, ...]
) -> None:
    assert smaller_calls(model, LIKE, rows_per_call) == sizes


def test_a_model_is_tried_once() -> None:
    seen = []

    def model(x: Tensor) -> Tensor:
        seen.append(x.shape[0])
        return rowwise(x)

    for _ in range(3):
        assert smaller_calls(model, LIKE, 32) == (16, 8)
    assert seen == [32, 16, 8]


@pytest.mark.parametrize("model", [conv_network(), by_size])
def test_a_row_has_the_same_bits_whichever_calls_it_was_in(
    model: Callable[[Tensor], Tensor],
) -> None:
    x = lattice_pictures(43)
    with torch.no_grad():
        y = torch.cat([model(x[i : i + 1].expand(32, -1, -1, -1))[:1] for i in range(43)]).argmax(1)
    pgd, rows = Pgd(Ball(Norm.LINF, 8), 6), torch.arange(43)
    sizes = set()

    def noting(pictures: Tensor) -> Tensor:
        sizes.add(pictures.shape[0])
        return model(pictures)

    whole = attack_rows(pgd, noting, x, y, rows, rows_per_call=32)
    assert sizes == {8, 16, 32}  # by the trial, whatever came of it
    for chosen in (torch.tensor([42, 0, 7]), torch.arange(20), torch.tensor([5])):
        part = attack_rows(pgd, model, x[chosen], y[chosen], rows[chosen], rows_per_call=32)
        for name in ("adversarial", "margin", "step", "forwards", "backwards"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[chosen]), name
