"""Certificates of rows: exact on a linear base, and the same whoever shares the calls."""

import numpy as np
import pytest
import torch
from scipy.stats import beta, norm

from pipeline.errors import UserError
from pipeline.pictures import to_unit
from pipeline.smoothing.base import OfClassifier
from pipeline.smoothing.certifier import CertifySettings, certify_rows
from tests.smoothing.linear_base import LinearBase

FIELDS = ("predicted", "n0_counts", "n", "n_a", "p_lower", "radius", "abstained", "draws")
SETTINGS = {
    "fixed": {"n": 300},
    "radii": {"n": 2000, "rule": "radii", "radii": (0.1, 0.25)},
    "tolerance": {"n": 2000, "rule": "tolerance", "tolerance": 0.05},
}


def linear(rows_per_call=64):
    weight = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(0))
    images = np.random.default_rng(1).integers(0, 256, (30, 6, 5, 1), np.uint8)
    base = LinearBase(weight, 0.0, rows_per_call)
    base.bias = -float((to_unit(images).double() * weight.double()).sum(dim=(1, 2, 3)).median())
    return base, images


@pytest.mark.parametrize("noise", ["gaussian", "lattice"])
def test_certificates_of_a_linear_classifier_are_those_of_its_votes_and_below_its_distance(noise):
    base, images = linear()
    settings = CertifySettings(sigma=0.25, n=4000, noise=noise)
    rows = certify_rows(base, images, np.arange(30), settings)
    distance = base.distance(to_unit(images)).numpy()
    share = norm.cdf(np.abs(distance) / 0.25)
    assert np.array_equal(rows.n0_counts.sum(axis=1), np.full(30, 100))
    spread = np.sqrt(4000 * share * (1 - share))
    right = rows.predicted == (distance > 0)
    assert right[np.abs(distance) > 0.1].all()
    assert (np.abs(rows.n_a - 4000 * share)[right] <= 4 * spread[right] + 1).all()
    expected = beta.ppf(0.001, rows.n_a, 4000 - rows.n_a + 1)
    assert rows.p_lower == pytest.approx(expected, abs=1e-9)
    assert (rows.radius <= np.where(right, np.abs(distance), 0)).all()
    assert (rows.abstained == (rows.p_lower <= 0.5)).all()
    assert (rows.radius[rows.abstained] == 0).all()
    assert rows.radius.max() > 0.3


@pytest.mark.parametrize("rule", SETTINGS)
def test_rows_have_the_same_counts_in_any_batch_order_and_company(rule):
    settings = CertifySettings(sigma=0.25, n0=20, **SETTINGS[rule])
    base, images = linear(256)
    keys = np.arange(30) * 1000 - 7
    together = certify_rows(base, images, keys, settings)
    small, _ = linear(7)
    order = np.random.default_rng(2).permutation(30)
    shuffled = certify_rows(small, images[order], keys[order], settings)
    alone = certify_rows(base, images[4:5], keys[4:5], settings)
    for field in FIELDS:
        expected = getattr(together, field)
        assert np.array_equal(getattr(shuffled, field), expected[order])
        assert np.array_equal(getattr(alone, field), expected[4:5])
    assert len(set(together.n.tolist())) > 1 or rule == "fixed"


def test_a_base_that_answers_by_chance_is_refused():
    base, images = linear()
    chance = np.random.default_rng(0)
    base.answers = lambda x, keys: chance.integers(0, 2, len(x))
    with pytest.raises(UserError, match="differently"):
        certify_rows(base, images, np.arange(30), CertifySettings(sigma=0.25, n=100))


class OfLogits:
    classes, shape, sha256, rows_per_call = ("a", "b"), (6, 5, 1), "0", 8

    def __init__(self, logits):
        self._logits = logits
        self.origin = {}

    def __call__(self, x):
        return self._logits.expand(len(x), -1)


@pytest.mark.parametrize(
    ("logits", "seen"), [([float("nan"), 1.0], "NaN"), ([1.0, 2.0, 3.0], "2 classes")]
)
def test_logits_that_are_none_are_refused(logits, seen):
    _, images = linear()
    base = OfClassifier(OfLogits(torch.tensor([logits])))
    with pytest.raises(UserError, match=seen):
        certify_rows(base, images, np.arange(30), CertifySettings(sigma=0.25, n=100))


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"sigma": 0.0}, "sigma must be above 0"),
        ({"sigma": 64}, "in pixel units"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 0.5}, "alpha"),
        ({"n": 99}, "less than the 100 draws"),
        ({"n0": 0}, "n0"),
        ({"rule": "radii"}, "together"),
        ({"rule": "radii", "radii": (0.25, 0.96)}, r"n = 100000 votes out of as many give 0\.9"),
        ({"rule": "tolerance", "tolerance": -1.0}, "tolerance"),
        ({"n0": 5, "n": 9}, "certify nothing"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, seen):
    with pytest.raises(UserError, match=seen):
        CertifySettings(**{"sigma": 0.25, **settings})
