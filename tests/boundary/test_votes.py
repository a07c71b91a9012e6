"""The smoothed rule: majority votes of keyed draws, stopped early without a different answer."""

import math

import numpy as np
import pytest
import torch
from linear_models import classifier_with_margin
from torch import Tensor

from pipeline.boundary.directions import slope_at
from pipeline.boundary.votes import MajorityVote, SoftVote, smoothed_rule
from pipeline.smoothing.noise import DrawKeys, GaussianNoise

SHAPE = (2, 4, 5)


class Base:
    """A base over a callable that counts what it is asked; calls must be full."""

    classes = ("a", "b", "c")
    shape = (4, 5, 2)
    rows_per_call = 16

    def __init__(self, model) -> None:
        self.model, self.asked = model, 0

    def record(self) -> dict:
        return {}

    def answers(self, x: Tensor, keys: DrawKeys) -> np.ndarray:
        assert len(x) == len(keys) == self.rows_per_call
        self.asked += len(x)
        return self.model(x).argmax(dim=1).numpy()


def three(x: Tensor) -> Tensor:
    """Three classes by the mean of a picture, with borders near 0.45 and 0.55."""
    mean = x.flatten(1).mean(dim=1)
    return torch.stack((-mean + 0.45, torch.zeros_like(mean), mean - 0.55), dim=1)


def counted(x: Tensor, rows: Tensor, draws: int, sigma: float, seed: int) -> np.ndarray:
    """The answers by all draws, one picture and draw at a time."""
    noise = GaussianNoise(sigma)
    answers = []
    for picture, row in zip(x, rows.tolist(), strict=True):
        keys = DrawKeys(seed, np.full(draws, row), np.arange(draws))
        votes = three(picture + noise.draw(keys, SHAPE)).argmax(dim=1)
        answers.append(torch.bincount(votes, minlength=3).argmax())
    return torch.stack(answers).numpy()


@pytest.mark.parametrize("draws", [1, 2, 7, 40])
def test_the_majority_is_that_of_all_draws_in_any_company_and_costs_no_more(draws):
    generator = torch.Generator().manual_seed(0)
    x = 0.5 + 0.1 * torch.randn(23, 1, 1, 1, generator=generator) + torch.zeros(SHAPE)
    rows = torch.arange(23) % 5
    base = Base(three)
    vote = MajorityVote(base, GaussianNoise(0.3), draws, 9)
    answers = vote(x, rows)
    np.testing.assert_array_equal(answers.numpy(), counted(x, rows, draws, 0.3, 9))
    assert base.asked <= 23 * draws + 16 * draws  # padding of the last calls
    alone = torch.cat([vote(x[i : i + 1], rows[i : i + 1]) for i in range(23)])
    assert torch.equal(alone, answers)


def test_a_picture_is_asked_no_more_once_its_answer_is_decided():
    base = Base(three)
    x = torch.full((16, *SHAPE), 5.0)  # every vote is for the same class
    vote = MajorityVote(base, GaussianNoise(0.1), 100, 0)
    assert vote(x, torch.arange(16)).tolist() == [2] * 16
    assert base.asked == 16 * 51  # 51 of 100 decide


def test_the_smoothed_boundary_of_a_linear_classifier_is_its_own_up_to_the_draws():
    model, x, y = classifier_with_margin(1.0)
    base = Base(model)
    rule = smoothed_rule(base, model, GaussianNoise(0.5), draws=200, slope_draws=4, seed=0)
    size = float(model.weight.norm())
    # P(right) = Φ(m / (σ ||w||)): at two standard deviations of the noise all agree.
    inward = model.weight / size
    sides = torch.stack([x[0] + (k * 0.5 - 1.0 / size) * inward for k in (-2, -1, 1, 2)])
    assert rule.decide(sides, torch.zeros(4, dtype=torch.int64)).tolist() == [0, 0, 1, 1]
    assert rule.rows_per_call == 4
    slope = slope_at(rule.logits, x, y, torch.arange(2), rule.rows_per_call)
    cosine = (slope.descent * -inward).flatten(1).sum(dim=1)
    torch.testing.assert_close(cosine, torch.ones(2), rtol=0, atol=1e-5)


def test_the_soft_vote_is_the_log_of_the_mean_probability_and_its_draws_are_not_the_votes():
    _, x, _ = classifier_with_margin(1.0)
    noise = GaussianNoise(0.3)
    numbers = []

    class Watched(GaussianNoise):
        def draw(self, keys, shape):
            numbers.extend(keys.draws.tolist())
            return super().draw(keys, shape)

    soft = SoftVote(three, Watched(0.3), 6, 2)
    logits = soft(x)
    keys = DrawKeys(2, np.zeros(6, np.int64), np.array(numbers))
    mean = torch.stack([three(x + one).softmax(dim=1) for one in noise.draw(keys, SHAPE)]).mean(
        dim=0
    )
    torch.testing.assert_close(logits, mean.log(), rtol=1e-5, atol=1e-6)
    assert min(numbers) >= 1 << 20  # the config's most draws of a vote
    assert math.isclose(float(logits.exp().sum(dim=1)[0]), 1, rel_tol=1e-5)
