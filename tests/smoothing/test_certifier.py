"""Certificates of rows: exact on a linear base, and the same whoever shares the calls."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import beta, ncx2, norm

from pipeline.errors import UserError
from pipeline.pictures import to_unit
from pipeline.smoothing.base import OfClassifier
from pipeline.smoothing.certifier import certify_rows
from pipeline.smoothing.settings import CertifySettings
from tests.smoothing.linear_base import LinearBase

FIELDS = ("predicted", "n0_counts", "n", "n_a", "p_lower", "radius", "abstained", "draws")
SETTINGS = {
    "fixed": {"n": 200},
    "radii": {"n": 600, "rule": "radii", "radii": (0.1, 0.25)},
    "tolerance": {"n": 600, "rule": "tolerance", "tolerance": 0.1},
}


def linear(rows_per_call=64):
    weight = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(0))
    images = np.random.default_rng(1).integers(0, 256, (30, 6, 5, 1), np.uint8)
    base = LinearBase(weight, 0.0, rows_per_call)
    base.bias = -float((to_unit(images).double() * weight.double()).sum(dim=(1, 2, 3)).median())
    return base, images


@pytest.mark.parametrize("noise", ["gaussian", "lattice"])
def test_certificates_of_a_linear_classifier_are_those_of_its_votes_and_below_its_distance(noise):
    base, images = linear(256)
    settings = CertifySettings(sigma=0.25, n=1000, noise=noise)
    rows = certify_rows(base, images, np.arange(30), settings)
    distance = base.distance(to_unit(images)).numpy()
    share = norm.cdf(np.abs(distance) / 0.25)
    assert np.array_equal(rows.n0_counts.sum(axis=1), np.full(30, 100))
    spread = np.sqrt(1000 * share * (1 - share))
    right = rows.predicted == (distance > 0)
    assert right[np.abs(distance) > 0.1].all()
    assert (np.abs(rows.n_a - 1000 * share)[right] <= 4 * spread[right] + 1).all()
    expected = beta.ppf(0.001, rows.n_a, 1000 - rows.n_a + 1)
    assert rows.p_lower == pytest.approx(expected, abs=1e-9)
    assert (rows.radius <= np.where(right, np.abs(distance), 0)).all()
    assert (rows.abstained == (rows.p_lower <= 0.5)).all()
    assert (rows.radius[rows.abstained] == 0).all()
    assert rows.radius.max() > 0.3


@pytest.mark.parametrize("rule", SETTINGS)
def test_rows_have_the_same_counts_in_any_batch_order_and_company(rule):
    settings = CertifySettings(sigma=0.25, n0=20, **SETTINGS[rule])
    base, images = linear(256)
    images, keys = images[:12], np.arange(12) * 1000 - 7
    together = certify_rows(base, images, keys, settings)
    small, _ = linear(7)
    order = np.random.default_rng(2).permutation(12)
    shuffled = certify_rows(small, images[order], keys[order], settings)
    alone = certify_rows(base, images[4:5], keys[4:5], settings)
    for field in FIELDS:
        expected = getattr(together, field)
        assert np.array_equal(getattr(shuffled, field), expected[order])
        assert np.array_equal(getattr(alone, field), expected[4:5])
    assert len(set(together.n.tolist())) > 1 or rule == "fixed"


class KeyedBase(LinearBase):
    """Answers by the number of the draw alone."""

    def __init__(self, answer):
        super().__init__(torch.zeros(1, 6, 5), 0.0)
        self.classes, self._answer = ("a", "b", "c"), answer

    def answers(self, x, keys):
        return np.array([self._answer(draw) for draw in keys.draws.tolist()], np.int64)


@pytest.mark.parametrize("rule", SETTINGS)
def test_shares_of_one_and_of_nought(rule):
    settings = CertifySettings(sigma=0.25, n0=20, **SETTINGS[rule])
    _, images = linear()
    always = certify_rows(KeyedBase(lambda draw: 2), images[:3], np.arange(3), settings)
    assert (always.predicted == 2).all()
    assert (always.n_a == always.n).all()
    assert (always.radius > (0.25 if rule == "radii" else 0.3)).all()
    assert not always.abstained.any()
    # whatever chooses the class has no part in its bound
    turned = KeyedBase(lambda draw: 2 if draw < 20 else 1)
    never = certify_rows(turned, images[:3], np.arange(3), settings)
    assert (never.predicted == 2).all()
    assert (never.n_a == 0).all()
    assert never.abstained.all()
    assert (never.radius == 0).all()
    assert (never.p_lower == 0).all()
    assert (never.n0_counts == [0, 0, 20]).all()


class BallBase(LinearBase):
    """Class 1 inside a ball: a share is a noncentral χ² distribution's."""

    def __init__(self, centre, reach):
        super().__init__(torch.zeros(1, 6, 5), 0.0, 256)
        self.centre, self.reach = centre, reach

    def answers(self, x, keys):
        squared = (x.double() - self.centre).square().sum(dim=(1, 2, 3))
        return (squared < self.reach**2).numpy().astype(np.int64)


def test_certificates_stay_within_the_smoothed_boundary_of_a_quadratic_classifier():
    sigma, reach = 0.25, 1.6
    _, images = linear()
    pictures = to_unit(images[:6]).double()
    away = (0.0, 0.3, 0.6, 0.9, 1.1, 2.0)
    # each picture has a ball of its own, whose centre is so far away
    directions = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(3)).double()
    directions /= directions.flatten(1).norm(dim=1)[:, None, None, None]

    def inside(distance):
        return ncx2.cdf((reach / sigma) ** 2, 30, (distance / sigma) ** 2 + 1e-12)

    boundary = brentq(lambda d: inside(d) - 0.5, 0.0, 3.0)
    settings = CertifySettings(sigma=sigma, n=3000)
    for i, distance in enumerate(away):
        base = BallBase(pictures[i] + distance * directions[i], reach)
        rows = certify_rows(base, images[i : i + 1], np.array([i]), settings)
        share = inside(distance) if rows.predicted[0] == 1 else 1 - inside(distance)
        assert rows.predicted[0] == (distance < boundary)
        assert abs(rows.n_a[0] - 3000 * share) <= 4.5 * np.sqrt(3000 * share * (1 - share)) + 1
        assert rows.p_lower[0] <= share
        assert rows.radius[0] <= abs(boundary - distance)
    assert 0.3 < boundary < 1.1


def test_calls_are_full_but_for_the_last_ones():
    base, images = linear(64)
    settings = CertifySettings(sigma=0.25, n=1000, rule="radii", radii=(0.1, 0.25))
    seen = []
    rows = certify_rows(base, images, np.arange(30), settings, lambda *done: seen.append(done))
    assert seen[-1] == (30, int(rows.draws.sum()))
    assert seen == sorted(seen)
    # one call more asks whether the answers are steady
    assert base.calls == len(seen) + 1
    assert len(seen) * 64 < 1.1 * rows.draws.sum() + 128


def test_a_row_that_is_left_alone_fills_its_calls():
    weight = torch.ones(1, 6, 5)
    images = np.full((1, 6, 5, 1), 100, np.uint8)
    base = LinearBase(weight, -100 / 255 * 30)  # on the plane: its share is a half
    settings = CertifySettings(sigma=0.25, n=1000, rule="radii", radii=(0.0,))
    rows = certify_rows(base, images, np.arange(1), settings)
    assert rows.n[0] >= 400
    assert base.calls <= rows.draws[0] / 64 + 3


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
        ({"rule": "radii", "radii": (0.25, float("nan"))}, "radii must be at least 0, not nan"),
        ({"rule": "tolerance", "tolerance": -1.0}, "tolerance"),
        ({"n0": 5, "n": 9}, "certify nothing"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, seen):
    with pytest.raises(UserError, match=seen):
        CertifySettings(**{"sigma": 0.25, **settings})


@pytest.mark.parametrize("rule", [{"radii": (0.1,)}, {"tolerance": 0.1}])
def test_an_alpha_too_small_for_floats_is_refused_in_one_line(rule: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="alpha is 5e-324, of which floats keep too few digits"):
        CertifySettings(sigma=0.25, alpha=5e-324, rule=next(iter(rule)), **rule)
    assert CertifySettings(sigma=0.25, alpha=1e-300, rule=next(iter(rule)), **rule).alpha == 1e-300
