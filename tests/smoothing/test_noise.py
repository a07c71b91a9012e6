"""The certificate's noise: keyed, of the right distribution, exact on the lattice."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from pipeline.errors import UserError
from pipeline.pictures import to_unit
from pipeline.smoothing.noise import (
    DrawKeys,
    GaussianNoise,
    LatticeNoise,
    check_sigma,
    noise_of,
    row_keys_of,
)
from pipeline.smoothing.tables import lattice_limits

SHAPE = (1, 7, 5)


def keys(rows, draws, seed=3):
    return DrawKeys(seed, np.array(rows, np.int64), np.array(draws, np.int64))


@pytest.mark.parametrize("name", ["gaussian", "lattice"])
def test_a_draw_depends_on_its_own_key_alone(name):
    noise = noise_of(name, 0.25)
    rng = np.random.default_rng(0)
    rows, draws = np.repeat([5, -9, 2**62], 40), np.tile(np.arange(40), 3)
    together = noise.draw(keys(rows, draws), SHAPE)
    order = rng.permutation(120)
    assert torch.equal(noise.draw(keys(rows[order], draws[order]), SHAPE), together[order])
    for i in (0, 1, 39, 40, 119):
        assert torch.equal(noise.draw(keys([rows[i]], [draws[i]]), SHAPE)[0], together[i])
    assert len({row.numpy().tobytes() for row in together}) == 120
    assert not torch.equal(noise.draw(keys(rows, draws, seed=4), SHAPE), together)


@pytest.mark.parametrize("name", ["gaussian", "lattice"])
def test_draws_that_use_up_their_spare_words_have_the_same_distribution(name, monkeypatch):
    monkeypatch.setattr("pipeline.smoothing.noise._spare_words", lambda expected: 1)
    key, size = keys(np.zeros(400), np.arange(400)), 2000
    noise = noise_of(name, 0.25)
    together = noise.draw(key, (size,))
    assert torch.equal(noise.draw(keys([0], [399]), (size,))[0], together[399])
    flat = together.numpy().ravel().astype(np.float64) / 0.25
    for z in (1.0, 3.1, 4.0):
        # of whole levels the nearest border between two
        edge = z if name == "gaussian" else (np.floor(z * 63.75) + 0.5) / 63.75
        expected = flat.size * norm.sf(edge)
        assert abs((flat > edge).sum() - expected) < 4.5 * np.sqrt(expected)
    assert np.isfinite(flat).all()


def test_gaussian_noise_has_the_normal_distribution():
    values = GaussianNoise(0.5).draw(keys(np.zeros(2000), np.arange(2000)), (500,)).numpy()
    flat = values.ravel().astype(np.float64) / 0.5
    assert kstest(flat, "norm").pvalue > 1e-3
    # tails, where another formula draws them: 3.1 to 5 standard deviations
    for z in (2.5, 3.1, 4.0, 4.5):
        for tail in (flat > z, flat < -z):
            expected = flat.size * norm.sf(z)
            assert abs(tail.sum() - expected) < 4.5 * np.sqrt(expected)
    assert np.isfinite(values).all()
    correlation = np.corrcoef(values[:, :20].T) - np.eye(20)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(2000)


def test_lattice_noise_is_in_whole_levels_with_the_shares_of_a_rounded_normal():
    sigma = 0.05
    values = LatticeNoise(sigma).levels(keys(np.zeros(1000), np.arange(1000)), (1000,)).numpy()
    assert np.array_equal(values, np.round(values))
    scale = 255 * sigma
    for level in range(-40, 41, 4):
        share = norm.cdf((level + 0.5) / scale) - norm.cdf((level - 0.5) / scale)
        found = np.count_nonzero(values == level)
        assert abs(found - 1e6 * share) < 4.5 * np.sqrt(1e6 * share)


@pytest.mark.parametrize("sigma", [0.01, 0.25, 1.0])
def test_the_lattices_table_is_the_normal_distribution_to_its_stated_total_variation(sigma):
    limits, lowest = lattice_limits(sigma)
    edges = [0, *(int(limit) for limit in limits), 2**64]
    shares = np.array([(b - a) / 2**64 for a, b in pairwise(edges)])
    levels = lowest + np.arange(len(shares))
    scale = 255 * sigma
    low, high = (levels - 0.5) / scale, (levels + 0.5) / scale
    # of the side where the difference keeps its digits
    exact = np.where(levels < 0, norm.cdf(high) - norm.cdf(low), norm.sf(low) - norm.sf(high))
    distance = np.abs(shares - exact).sum() / 2
    assert distance <= LatticeNoise(sigma).shortfall(1) < 1e-11
    assert np.all(np.diff(np.array(edges, dtype=object)) >= 0)
    assert levels[-1] == -lowest


def test_pictures_on_the_lattice_stay_on_it_as_8_bit_pictures_have_it():
    images = np.arange(35, dtype=np.uint8).reshape(1, 7, 5, 1) * 7
    noise = LatticeNoise(0.25)
    key = keys([1], [0])
    levels = noise.levels(key, SHAPE).numpy().astype(np.int64) + images[:, None, :, :, 0]
    expected = levels.astype(np.float32) / np.float32(255)
    assert np.array_equal(noise.noisy(to_unit(images), key).numpy(), expected)


@pytest.mark.parametrize("sigma", [0.0, -0.25, float("nan"), 64.0, float("inf")])
def test_a_sigma_that_is_none_for_pixels_is_refused(sigma):
    with pytest.raises(UserError, match="sigma"):
        check_sigma(sigma)


def test_whole_numbers_are_their_own_keys_and_texts_have_a_stable_one():
    assert row_keys_of([7, -1, 2**63 - 1]).tolist() == [7, -1, 2**63 - 1]
    first = row_keys_of(["a", "b", "a"])
    assert first[0] == first[2] != first[1]
    assert first.tolist()[:2] == row_keys_of(["a", "b"]).tolist()
