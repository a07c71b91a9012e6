"""The contrastive loss: by its formula, with equal captions, and where the best answer is known."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline.training.contrastive import contrastive_loss, share_found


def unit_rows(num: int, width: int, seed: int) -> torch.Tensor:
    rows = torch.from_numpy(np.random.default_rng(seed).normal(size=(num, width)))
    return F.normalize(rows, dim=1)


def by_formula(pictures: np.ndarray, texts: np.ndarray, captions: list[str], scale: float) -> float:
    """Row by row and term by term; rows without a caption, "", are left out."""
    rows = [i for i, caption in enumerate(captions) if caption]
    total = 0.0
    for i in rows:
        others = [j for j in rows if captions[j] != captions[i]]
        own = math.exp(scale * pictures[i] @ texts[i])
        wrong_texts = sum(math.exp(scale * pictures[i] @ texts[j]) for j in others)
        wrong_pictures = sum(math.exp(scale * pictures[j] @ texts[i]) for j in others)
        total -= math.log(own / (own + wrong_texts)) + math.log(own / (own + wrong_pictures))
    return total / (2 * len(rows))


def test_without_equal_captions_it_is_clips_two_cross_entropies() -> None:
    pictures, texts = unit_rows(12, 5, 0), unit_rows(12, 5, 1)
    logits, own = 7.5 * pictures @ texts.T, torch.arange(12)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(contrastive_loss(pictures, texts, 7.5), expected, rtol=0, atol=1e-14)


def test_it_is_its_formula_with_captions_that_are_equal_or_missing() -> None:
    captions = ["cat", "dog", "cat", "", "cow", "dog", "cat", "", "hen"]
    words = dict(zip(sorted(set(captions)), unit_rows(5, 6, 2), strict=True))
    words[""] = torch.zeros(6, dtype=torch.float64)
    pictures, texts = unit_rows(9, 6, 3), torch.stack([words[c] for c in captions])
    loss = contrastive_loss(pictures, texts, 4.0)
    assert float(loss) == pytest.approx(
        by_formula(pictures.numpy(), texts.numpy(), captions, 4.0), abs=1e-13
    )
    rows = [i for i, c in enumerate(captions) if c]
    alone = contrastive_loss(pictures[rows], texts[rows], 4.0)
    torch.testing.assert_close(loss, alone, rtol=0, atol=1e-14)


def test_equal_captions_are_no_wrong_answers_to_each_other() -> None:
    """Exactly: their loss is 0, and no picture is moved by another of its caption."""
    pictures = unit_rows(6, 4, 4).requires_grad_()
    same = unit_rows(1, 4, 5).expand(6, 4)
    loss = contrastive_loss(pictures, same, torch.tensor(10.0))
    assert float(loss.detach()) == 0
    (gradient,) = torch.autograd.grad(loss, pictures)
    assert (gradient == 0).all()
    own = torch.arange(6)  # where all others are wrong answers the pictures push each other away
    plain = F.cross_entropy(10 * pictures @ same.T, own)
    assert float(plain.detach()) == pytest.approx(math.log(6))


def test_a_batch_without_captions_has_a_loss_of_0_and_no_gradient() -> None:
    pictures = unit_rows(3, 4, 8).requires_grad_()
    loss = contrastive_loss(pictures, torch.zeros(3, 4, dtype=torch.float64), 5.0)
    (gradient,) = torch.autograd.grad(loss, pictures)
    assert float(loss.detach()) == 0
    assert (gradient == 0).all()


def test_a_picture_is_found_that_is_nearer_to_its_text_than_to_any_other_captions() -> None:
    texts = torch.eye(4)[[0, 0, 1, 2, 3]]
    texts[4] = 0  # no caption: not asked
    pictures = F.normalize(
        torch.tensor([[2.0, 1, 0, 0], [1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]),
        dim=1,
    )
    # The first and the third are; the second is not, and the fourth's is a tie.
    assert float(share_found(pictures, texts)) == pytest.approx(2 / 4)


def test_a_linear_encoder_learns_the_turn_and_the_spread_of_gaussian_pairs_on_the_circle() -> None:
    """The least loss is at the pairs' log density ratio. Of a text that is Gaussian about the
    turned picture and has length 1 (von Mises), with concentration κ, that is κ times the cosine
    of the two, and a constant: so the encoder must be the turn, and the scale κ."""
    kappa, turn, generator = 6.0, 0.9, np.random.default_rng(0)
    mix = np.array([[1.0, 0.3], [-0.2, 0.7]])  # what is seen of a picture
    encoder = torch.nn.Linear(2, 2, bias=False)
    log_scale = torch.nn.Parameter(torch.zeros(()))
    with torch.no_grad():
        encoder.weight.copy_(torch.eye(2))
    optimizer = torch.optim.Adam([*encoder.parameters(), log_scale], lr=0.06)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 150)
    for _ in range(150):
        angle = generator.uniform(-np.pi, np.pi, 256)
        told = generator.vonmises(angle + turn, kappa)
        seen = np.stack((np.cos(angle), np.sin(angle)), axis=1) @ mix.T
        texts = torch.from_numpy(np.stack((np.cos(told), np.sin(told)), axis=1)).float()
        pictures = F.normalize(encoder(torch.from_numpy(seen).float()), dim=1)
        optimizer.zero_grad()
        contrastive_loss(pictures, texts, log_scale.exp()).backward()
        optimizer.step()
        rates.step()
    whole = encoder.weight.detach().numpy() @ mix
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    np.testing.assert_allclose(whole / np.sqrt(np.linalg.det(whole)), turned, atol=0.05)
    assert float(log_scale.exp().detach()) == pytest.approx(kappa, rel=0.08)
