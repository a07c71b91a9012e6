"""Expectation over a model's chance: the mean of the stated draws, and the same in any company."""

import math
from hashlib import sha256

import pytest
import torch
from torch import Tensor

from pipeline.attacks.base import Norm
from pipeline.attacks.engine.eot import Expectation
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.pgd import Pgd

WEIGHT = torch.linspace(-1, 1, 12).reshape(1, 3, 4)


def chance(x: Tensor) -> Tensor:
    """Logits ``(0, (1 + n) <w, x>)`` with a standard normal n for each copy."""
    scale = 1 + torch.randn(len(x))
    lead = scale * (x * WEIGHT).sum(dim=(1, 2, 3))
    return torch.stack((torch.zeros_like(lead), lead), dim=1)


def pictures(num: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (num, 1, 3, 4), generator=generator).float() / 255


def test_logits_and_gradient_are_the_means_over_the_draws_that_the_picture_keys() -> None:
    x = pictures(3).requires_grad_(True)
    logits = Expectation(chance, 7, seed=4)(x)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), x)
    for row, picture in enumerate(x.detach()):
        digest = sha256(b"attack:4:" + picture.numpy().tobytes()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        mean = float((1 + torch.randn(7, generator=generator)).mean())
        lead = float((picture * WEIGHT).sum())
        assert logits[row].tolist() == pytest.approx([0.0, mean * lead], abs=1e-5)
        torch.testing.assert_close(gradient[row], mean * WEIGHT, rtol=1e-5, atol=1e-6)


def test_with_many_draws_the_gradient_is_that_of_the_expected_logits() -> None:
    x = pictures(2).requires_grad_(True)
    draws = 40_000
    logits = Expectation(chance, draws, seed=0)(x)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), x)
    # The mean of 1 + n lies within 4 standard errors of 1.
    assert float((gradient - WEIGHT).abs().max()) < 4 / math.sqrt(draws)


def test_two_uses_two_seeds_and_two_pictures_have_other_chances() -> None:
    x = pictures(2)
    x[1] = x[0]
    x[1, 0, 2, 3] = x[0, 0, 2, 3] + 1 / 255
    found = [Expectation(chance, 5, 0)(x), Expectation(chance, 5, 1)(x)]
    found.append(Expectation(chance, 5, 0, use="judgement")(x))
    leads = [float(value) for logits in found for value in logits[:, 1] / 1.0]
    assert len({round(lead, 4) for lead in leads}) == 6


def test_a_row_has_the_same_bits_in_any_company_and_torchs_generator_is_left_alone() -> None:
    x, model = pictures(6), Expectation(chance, 3, seed=1)
    before = torch.random.get_rng_state()
    whole = model(x)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(model(x[4:5]), whole[4:5])
    assert torch.equal(model(x.flip(0)), whole.flip(0))


def test_an_attack_on_chance_gives_the_same_bytes_alone_and_in_a_batch() -> None:
    x, rows = pictures(10), torch.arange(10)
    model = Expectation(chance, 4, seed=1)
    y = model(x).argmax(dim=1)
    attack = Pgd(Ball(Norm.LINF, 20), 5)
    whole = attack_rows(attack, model, x, y, rows, rows_per_call=1, capacity=8)
    assert whole.broken.sum() > 0
    for row in range(10):
        part = slice(row, row + 1)
        alone = attack_rows(attack, model, x[part], y[part], rows[part], rows_per_call=1)
        for name in ("adversarial", "margin", "broken", "step", "forwards"):
            assert torch.equal(getattr(alone, name), getattr(whole, name)[part]), name


def test_a_model_without_chance_has_its_own_logits() -> None:
    def plain(x: Tensor) -> Tensor:
        lead = (x * WEIGHT).sum(dim=(1, 2, 3))
        return torch.stack((torch.zeros_like(lead), lead), dim=1)

    x = pictures(4)
    torch.testing.assert_close(Expectation(plain, 8, 0)(x), plain(x))
