"""When rows stop: how often a certificate errs, summed over all counts, and by simulation."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from pipeline.smoothing.certificate import radius, share_of
from pipeline.smoothing.confidence import clopper_pearson_lower
from pipeline.smoothing.rules import Radii, Rule, rule_of

SIGMA = 0.5
QUESTIONS = {"fixed": {}, "radii": {"radii": (0.25, 0.5, 1.0)}, "tolerance": {"tolerance": 0.1}}


def rule(name: str, n: int, alpha: float = 0.001, **question: object) -> Rule:
    return rule_of(name, sigma=SIGMA, n=n, alpha=alpha, **(question or QUESTIONS[name]))


def stopped_counts(asked: Rule, shares: np.ndarray, rng: np.random.Generator):
    """The counts (n, n_A) at which rows of these shares stop: ``[N]`` each."""
    n, n_a = np.zeros((2, len(shares)), np.int64)
    waiting, drawn = np.arange(len(shares)), 0
    for look in asked.looks().tolist():
        n_a[waiting] += rng.binomial(look - drawn, shares[waiting])
        n[waiting], drawn = look, look
        seen, which = np.unique(n_a[waiting], return_inverse=True)
        decided = np.array([asked.is_decided(look, count) for count in seen.tolist()])
        waiting = waiting[~decided[which]]
    assert len(waiting) == 0
    return n, n_a


def certified_radii(asked: Rule, n: np.ndarray, n_a: np.ndarray) -> np.ndarray:
    seen, which = np.unique(np.stack((n, n_a)), axis=1, return_inverse=True)
    return np.array([asked.radius(a, b) for a, b in seen.T.tolist()])[which.ravel()]


def chance_of_too_large_a_radius(asked: Rule, true: float) -> float:
    """Over all paths of counts at the rule's looks: no draw is random here."""
    share = share_of(true, SIGMA)
    alive, drawn, wrong = np.array([1.0]), 0, 0.0
    for look in asked.looks().tolist():
        step = look - drawn
        alive = np.convolve(alive, binom.pmf(np.arange(step + 1), step, share))
        drawn = look
        for n_a in np.flatnonzero(alive > 1e-15).tolist():
            if asked.is_decided(look, n_a):
                wrong += alive[n_a] * (asked.radius(look, n_a) > true)
                alive[n_a] = 0.0
    return wrong


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("true", [0.2499999, 0.9999999])
def test_over_all_counts_a_radius_is_too_large_less_often_than_alpha(name, true):
    chance = chance_of_too_large_a_radius(rule(name, 800, alpha=0.02), true)
    assert 0.0005 < chance <= 0.02


@pytest.mark.parametrize("name", QUESTIONS)
def test_of_20000_rows_near_the_border_no_more_than_alpha_get_too_large_a_radius(name):
    """A linear classifier's exact radius is its plane's distance r, and p_A = Φ(r/σ)."""
    rng = np.random.default_rng(0)
    true = np.repeat([0.2499999, 0.4999999, 0.9999999, 0.4], 5000)
    true -= np.tile([0.0, 1e-4, 1e-3, 5e-3], 5000)
    asked = rule(name, 10_000)
    n, n_a = stopped_counts(asked, norm.cdf(true / SIGMA), rng)
    wrong = np.count_nonzero(certified_radii(asked, n, n_a) > true)
    # the chance of so many errors at alpha itself is below 1e-4 from here on
    assert wrong <= binom.isf(1e-4, len(true), 0.001)


def test_the_fixed_bound_read_at_every_look_would_err_more_often_than_alpha():
    """What the anytime bound is for."""
    share = share_of(0.25, SIGMA)
    rng = np.random.default_rng(1)
    n_a, drawn, wrong = np.zeros(10_000, np.int64), 0, np.zeros(10_000, bool)
    for look in rule("radii", 10_000).looks().tolist():
        n_a += rng.binomial(look - drawn, share, 10_000)
        drawn = look
        wrong |= n_a >= next(
            k for k in range(int(share * look), look + 2)
            if k > look or clopper_pearson_lower(k, look, 0.001) > share
        )  # fmt: skip
    assert wrong.sum() > binom.isf(1e-4, 10_000, 0.001)


def test_asked_radii_take_a_twentieth_of_the_draws_and_lose_few_rows():
    """Rows whose radii are spread evenly up to 3 sigma, as a trained classifier's are."""
    true = np.linspace(0, 3 * SIGMA, 4000)
    shares = norm.cdf(true / SIGMA)
    for radii, factor in (((0.25, 0.5), 20), ((1.5,), 5)):
        asked = rule("radii", 100_000, radii=radii)
        n, n_a = stopped_counts(asked, shares, np.random.default_rng(2))
        assert 100_000 / n.mean() >= factor
        found = certified_radii(asked, n, n_a)
        fixed = np.random.default_rng(3).binomial(100_000, shares)
        bound = np.array([clopper_pearson_lower(int(k), 100_000, 0.001) for k in fixed])
        for r in radii:
            lost = np.mean(SIGMA * norm.ppf(bound) >= r) - np.mean(found >= r)
            assert lost <= 0.005


def test_a_row_that_stops_has_every_radius_held_or_given_up():
    asked = rule("radii", 10_000)
    assert isinstance(asked, Radii)
    # all agree: nothing is left to ask when the largest holds
    (first,) = [look for look in asked.looks().tolist() if asked.is_decided(look, look)][:1]
    assert asked.holds(1.0, first, first)
    assert not asked.is_decided(first // 2, first // 2)
    # none agree: given up at once
    assert asked.is_decided(16, 0)
    assert asked.radius(16, 0) == 0


def test_a_tolerance_is_kept_between_the_radius_and_what_could_still_be_shown():
    asked = rule("tolerance", 20_000)
    true = np.linspace(0.1, 1.2, 300)
    n, n_a = stopped_counts(asked, norm.cdf(true / SIGMA), np.random.default_rng(4))
    found = certified_radii(asked, n, n_a)
    early = n < 20_000
    assert early.sum() > 200
    reachable = np.minimum(true, asked.ceiling())
    assert (found[early] >= reachable[early] - 0.1).mean() > 0.99
    assert n[true < 0.8].mean() < 10_000


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_ceiling_is_what_all_votes_of_n_certify(name):
    alpha = 0.001 if name == "fixed" else 0.0005  # the other half is the anytime bound's
    expected = SIGMA * norm.ppf(alpha ** (1 / 1000))
    assert rule(name, 1000).ceiling() == pytest.approx(expected, abs=1e-6)
    assert rule(name, 1000).ceiling() <= expected


def test_radii_are_rounded_down_to_a_millionth():
    for p in np.linspace(0.501, 0.99999, 997):
        exact = 0.25 * norm.ppf(p)
        assert exact - 1e-6 < radius(p, 0.25) <= exact
        assert radius(p, 0.25) == round(radius(p, 0.25), 6)
    assert radius(0.5, 0.25) == radius(0.1, 0.25) == 0.0


def test_the_noises_shortfall_is_taken_off_every_bound():
    for name, question in QUESTIONS.items():
        plain = rule_of(name, sigma=SIGMA, n=1000, alpha=0.001, **question)
        short = rule_of(name, sigma=SIGMA, n=1000, alpha=0.001, shortfall=0.01, **question)
        assert short.p_lower(1000, 990) == pytest.approx(plain.p_lower(1000, 990) - 0.01)
        assert short.p_lower(1000, 0) == 0.0
