import math

import numpy as np
import pytest
import torch
from oracles import (
    Gaussian,
    GaussianClasses,
    GaussianStack,
    covariance_matrix,
    with_blind_details,
)
from small_stack import small_stack
from torch import Tensor

from pipeline.chain.schedule import Stage
from pipeline.errors import UserError
from pipeline.smoothing.bases.stack import OfStack
from pipeline.smoothing.denoised import StagedDenoiser
from pipeline.smoothing.evidence import EvidenceClassifier, looks_between, looks_through
from pipeline.smoothing.noise import DrawKeys

STAGES = (Stage(2, 400.0, 1.0), Stage(4, 1.0, 0.02))
TAU2 = torch.tensor([[0.2], [0.1], [0.05]], dtype=torch.float64)


def gaussian_classes(*, alike: bool, num: int = 3, apart: float = 0.35) -> GaussianClasses:
    """Classes of one covariance or their own, whose details tell nothing."""
    stacks = []
    for number in range(num):
        generator = torch.Generator().manual_seed(number)
        mean = apart * torch.randn(4, generator=generator, dtype=torch.float64)
        covariance = covariance_matrix([0.5, 0.2, 0.1, 0.05], seed=0 if alike else number)
        low = Gaussian((1, 2, 2), mean, covariance)
        stacks.append(GaussianStack.of(with_blind_details(low, TAU2), 2))
    return GaussianClasses(tuple(stacks))


def staged_of(classes: GaussianClasses) -> StagedDenoiser:
    return StagedDenoiser(classes, STAGES, lambda stage: TAU2)


def noisy_pictures(classes: GaussianClasses, sigma: float, num: int) -> Tensor:
    """In [0, 1] units, of the classes in turn."""
    clean = torch.cat([s.data.draw(num, seed=n) for n, s in enumerate(classes.stacks)])
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(9))
    return (clean + 1) / 2 + sigma * noise


def keys_of(num: int, draw: int = 0, seed: int = 0) -> DrawKeys:
    return DrawKeys(seed, np.arange(num), np.full(num, draw))


def evidence(
    classes: GaussianClasses, sigma: float, counts: tuple[int, int], *, leave: float = math.inf
) -> EvidenceClassifier:
    denoiser = staged_of(classes)
    return EvidenceClassifier(
        denoiser,
        torch.arange(len(classes.stacks)),
        sigma,
        looks_through(denoiser, sigma, counts, 300.0),
        leave=leave,
        rows_per_call=90,
    )


@pytest.mark.parametrize("sigma", [0.1, 0.25, 0.45, 0.8])
def test_of_gaussian_classes_of_one_covariance_the_bound_is_bayes_rule(sigma: float) -> None:
    classes = gaussian_classes(alike=True)
    x = noisy_pictures(classes, sigma, 15)
    exact = classes.nats(2 * x - 1, 2 * sigma).numpy()
    classify = evidence(classes, sigma, (30, 30))
    nats = classify.nats(x, keys_of(len(x)))
    # Pairs cancel all noise here: one draw leaves only what the midpoint rule errs.
    differences = (nats - nats[:, :1]) - (exact - exact[:, :1])
    assert np.abs(differences).max() < 0.01
    sure = np.sort(exact, axis=1)
    clear = sure[:, 1] - sure[:, 0] > 0.02
    assert clear.mean() > 0.9
    answers = classify(x, keys_of(len(x)))
    assert np.array_equal(answers[clear], exact.argmin(axis=1)[clear])


def test_of_gaussian_classes_of_their_own_covariances_the_bound_is_right_on_average() -> None:
    classes, sigma = gaussian_classes(alike=False), 0.25
    x = noisy_pictures(classes, sigma, 2)
    exact = classes.nats(2 * x - 1, 2 * sigma).numpy()
    classify = evidence(classes, sigma, (12, 12))
    draws = np.stack([classify.nats(x, keys_of(len(x), draw)) for draw in range(16)])
    differences = (draws - draws[:, :, :1]) - (exact - exact[:, :1])
    error = differences.std(axis=0) / math.sqrt(len(draws))
    assert (np.abs(differences.mean(axis=0)) < 4 * error + 0.01).all()
    assert error.max() < 0.2


def test_a_single_pair_is_unbiased_where_single_draws_drown() -> None:
    # Near the picture's own level the target's noise has the size a^2 / u: here 25 times the data.
    classes, sigma = gaussian_classes(alike=True), 0.25
    x = noisy_pictures(classes, sigma, 4)
    look = looks_between(0.5001, 0.5002, 1)
    kwargs = {"leave": math.inf, "rows_per_call": 512}
    classify = EvidenceClassifier(staged_of(classes), torch.arange(3), sigma, look, **kwargs)
    first, second = (classify.nats(x, keys_of(len(x), draw)) for draw in (0, 1))
    gaps = [nats - nats[:, :1] for nats in (first, second)]
    assert np.abs(gaps[0] - gaps[1]).max() < 1e-3 * np.abs(gaps[0]).max()


def test_classes_that_lag_leave_with_the_same_answers_and_fewer_passes() -> None:
    classes, sigma = gaussian_classes(alike=True, num=6, apart=1.0), 0.1
    x = noisy_pictures(classes, sigma, 5)
    everyone, leaving = evidence(classes, sigma, (8, 8)), evidence(classes, sigma, (8, 8), leave=20)
    assert np.array_equal(everyone(x, keys_of(len(x))), leaving(x, keys_of(len(x))))
    assert everyone.passes.by_side == {2: 30 * 6 * 16, 4: 30 * 6 * 16}
    assert everyone.passes.answered == leaving.passes.answered == 30
    assert sum(leaving.passes.by_side.values()) < 0.9 * sum(everyone.passes.by_side.values())


def test_a_picture_has_the_same_answer_in_any_company_and_another_in_another_draw() -> None:
    stack = small_stack()
    base = OfStack(stack, 0.25, looks=(2, 2), leave=4.0)
    x = torch.rand(11, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    keys = keys_of(11)
    with torch.inference_mode():
        together = base.classify.nats(x, keys)
        order = np.array([7, 0, 3])
        picked = DrawKeys(0, keys.row_keys[order], keys.draws[order])
        assert np.array_equal(base.classify.nats(x[order], picked), together[order])
        other = base.classify.nats(x, keys_of(11, draw=1))
    assert not np.array_equal(together, other)


def test_a_class_without_training_pictures_is_never_answered() -> None:
    base = OfStack(small_stack(untrained=(0,)), 0.25)
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert np.isinf(base.classify.nats(x, keys_of(6))[:, 0]).all()
        assert 0 not in base.answers(x, keys_of(6))


def test_what_tells_no_classes_apart_is_refused() -> None:
    with pytest.raises(UserError, match="conditioned on none"):
        OfStack(small_stack(condition=type(small_stack().spec.condition)("none", 0)), 0.25)
    with pytest.raises(UserError, match="two classes at least"):
        OfStack(small_stack(untrained=(0, 2)), 0.25)
    with pytest.raises(UserError, match="looks has 1 numbers"):
        OfStack(small_stack(), 0.25, looks=(1,))
    with pytest.raises(UserError, match=r"no look is left above sigma 1\.8"):
        OfStack(small_stack(), 1.8, looks=(0, 4))
    with pytest.raises(UserError, match="outside what the stack denoises"):
        OfStack(small_stack(), 30.0)
