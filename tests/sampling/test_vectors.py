"""Vectors by the same walk: a prior on Gaussian data, whose conditional law is known exactly."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import (
    GaussianJoint,
    covariance_matrix,
    regression,
    standard_error_of_covariance,
)
from small_stack import prior_spec, random_weights, small_stack
from torch import Tensor

from pipeline.chain.permutation import Purpose
from pipeline.chain.schedule import Stage
from pipeline.conditions import ConditionSpec
from pipeline.errors import UserError
from pipeline.formats.encoder_id import EncoderId
from pipeline.sampling import SAMPLERS, SamplingOptions, is_exact, sample
from pipeline.sampling.base import SampleKeys
from pipeline.sampling.loop import SamplingLoop
from pipeline.sampling.vectors import CandidateKeys, sample_vectors
from pipeline.stack import PRIOR, Stack, save_stack
from pipeline.stack_spec import ErrorCurve, StackSpec
from pipeline.training.trainer import Recipe, StackTrainer
from pipeline.training.weighting import WEIGHTINGS

# A sentence of three numbers, a picture's embedding of four; they tell of each other.
JOINT = GaussianJoint(
    torch.tensor([0.2, -0.3, 0.1, 0.4, 0.0, -0.2, 0.3], dtype=torch.float64),
    covariance_matrix([1.5, 0.8, 0.5, 0.3, 0.1, 0.05, 0.02], seed=3),
    num_conditions=3,
)
SIGMA_DATA = float((JOINT.marginal.covariance.trace() / 4 + JOINT.mean[3:].square().mean()).sqrt())
NUM = 2000
ROWS = np.arange(NUM)


def joint_spec(**changes: object) -> StackSpec:
    stage = Stage(1, 100 * SIGMA_DATA, 0.01 * SIGMA_DATA)
    grid = np.geomspace(stage.sigma_low, stage.sigma_high, 400)
    errors = tuple(JOINT.rest.mean_squared_error(sigma) for sigma in grid)
    spec = prior_spec(
        ConditionSpec("embedding", 3),
        stages=(stage,),
        sigma_data=(SIGMA_DATA,),
        errors=(ErrorCurve(tuple(np.log(grid)), errors),),
        rows_per_call=500,
        layers=(25,),
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


def standard_errors(c: Tensor, x: Tensor) -> tuple[float, float]:
    """How far rows x are from the joint's law given c: the largest of mean and of covariance."""
    offset, slope, left = regression(c, x)
    exact = JOINT.rest.covariance
    design = torch.cat((torch.ones(len(c), 1), c), dim=1).double()
    spread = torch.linalg.inv(design.T @ design).diagonal()  # of each coefficient, in variances
    off = torch.cat((offset[None], slope.T)) - torch.cat((JOINT.offset[None], JOINT.slope.T))
    of_mean = off.abs() / (spread[:, None] * exact.diagonal()).sqrt()
    of_covariance = (left - exact).abs() / standard_error_of_covariance(exact, len(c))
    return float(of_mean.max()), float(of_covariance.max())


def conditions(seed: int = 5) -> Tensor:
    return JOINT.draw(NUM, seed)[0].float()


# Layers enough that what the sampler itself is off lies below the draws' own error.
@pytest.mark.parametrize(
    ("sampler", "layers"),
    [("ancestral", 100), ("ddpm", 300), ("ddim", 300), ("heun", 40), ("dpmpp_2m", 60)],
)
def test_the_exact_denoiser_draws_the_conditional_mean_and_covariance(
    sampler: str, layers: int
) -> None:
    c = conditions()
    loop = SamplingLoop(JOINT, joint_spec(), SamplingOptions(sampler, (layers,)), "cpu")
    keys = SampleKeys(np.zeros(NUM, np.int64), ROWS)
    x = loop.run_stage(0, None, keys, c.numpy()).flatten(1)
    of_mean, of_covariance = standard_errors(c, x)
    assert of_mean < 5
    assert of_covariance < 5
    # The test has power: the same rows beside other sentences, as if the text had been ignored.
    assert min(standard_errors(c.roll(1, 0), x)) > 20


def test_every_sampler_is_held_to_the_exact_law() -> None:
    marks = test_the_exact_denoiser_draws_the_conditional_mean_and_covariance.pytestmark
    assert {name for name, _ in marks[0].args[1]} == set(SAMPLERS)


@cache
def trained() -> Stack:
    """A small network after some seconds of training on pairs of the joint law."""
    steps, batch = 350, 256
    spec = joint_spec(widths=(32,), blocks=(1,), embedding=32, errors=(), dropout=0.0)
    recipe = Recipe(
        num_steps=steps,
        batch_size=batch,
        stage_share=(1.0,),
        learning_rate=8e-3,
        warmup_steps=20,
        ema_halflife=5000.0,
        drop_condition=0.1,
        gradient_clip=1.0,
        weighting=WEIGHTINGS["edm"],
        seed=1,
    )
    trainer = StackTrainer(Stack.fresh(spec, 1), recipe)
    c, x = (values.float() for values in JOINT.draw(steps * batch, seed=11))
    for c_rows, x_rows in zip(c.split(batch), x.split(batch), strict=True):
        trainer.update(x_rows, c_rows)
    return trainer.averaged()


def far_off(c: Tensor, x: Tensor) -> tuple[float, float]:
    """RMS distance of what is expected of each row, in the law's own; relative of covariance."""
    offset, slope, left = regression(c, x)
    exact = JOINT.rest.covariance
    expected = offset + c.double() @ slope.T
    miss = (expected - JOINT.expected(c)).square().sum(dim=1).mean() / exact.trace()
    return float(miss.sqrt()), float((left - exact).norm() / exact.norm())


def test_a_trained_prior_draws_the_conditional_mean_and_covariance() -> None:
    c = conditions()
    x = torch.from_numpy(sample_vectors(trained(), ROWS * 0, ROWS, c.numpy()))
    of_mean, of_covariance = far_off(c, x)
    assert of_mean < 0.12
    assert of_covariance < 0.2
    # And it is the text that does it: without one the same network draws the law of all pictures.
    unconditional = sample_vectors(trained(), ROWS * 0, ROWS, np.zeros_like(c))
    of_mean, of_covariance = far_off(c, torch.from_numpy(unconditional))
    assert of_mean > 0.5
    assert of_covariance > 0.5
    everything = torch.from_numpy(unconditional).T.cov().double()
    exact = JOINT.marginal.covariance
    assert (everything - exact).norm() / exact.norm() < 0.35


TEXT = ConditionSpec("text", 4, 5)
SEEDS = np.array([3, 3, -1, 2**40, 3, 3, 8, 3])
INDICES = np.array([0, 1, 2, 2**33, 1, 5, 0, 7])
TEXTS = TEXT.rule.examples(8)
TEXTS[2] = 0


def text_prior(**changes: object) -> Stack:
    return random_weights(Stack(prior_spec(TEXT, attends=(0,), **changes)))


@pytest.mark.parametrize("best_of", [1, 2, 5])
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_vector_is_the_same_bits_in_any_batch_order_and_padding(
    sampler: str, best_of: int
) -> None:
    stack, options = text_prior(), SamplingOptions(sampler=sampler, guidance=2.0)
    together = sample_vectors(stack, SEEDS, INDICES, TEXTS, options, best_of=best_of)
    assert together.shape == (8, 4)
    assert together.dtype == np.float32
    order = np.random.default_rng(1).permutation(8)
    shuffled = sample_vectors(
        stack, SEEDS[order], INDICES[order], TEXTS[order], options, best_of=best_of
    )
    assert np.array_equal(shuffled, together[order])
    for i in range(8):
        row = slice(i, i + 1)
        alone = sample_vectors(
            stack, SEEDS[row], INDICES[row], TEXTS[row], options, best_of=best_of
        )
        assert np.array_equal(alone, together[row]), i


def test_the_best_of_two_is_the_one_that_a_person_would_pick() -> None:
    """Candidate 0 is what best_of 1 draws; the other has keys of its own."""
    stack = text_prior()
    loop = SamplingLoop(stack, stack.spec, None, "cpu")
    rows = np.resize(np.arange(8), stack.rows_per_call * 2)  # as calls take them
    with torch.inference_mode():
        candidates = np.stack(
            [
                np.concatenate(
                    [
                        loop.run_stage(
                            0, None, CandidateKeys(SEEDS[r], INDICES[r], 0 * r + number), TEXTS[r]
                        ).flatten(1)
                        for r in rows.reshape(2, -1)
                    ]
                )[:8]
                for number in (0, 1)
            ]
        )
    plain = sample_vectors(stack, SEEDS, INDICES, TEXTS)
    assert np.array_equal(candidates[0], plain)
    assert not (candidates[0] == candidates[1]).any()
    products = np.einsum("knd,nd->kn", candidates.astype(np.float64), TEXTS[:, 0])
    picked = np.where((products[1] > products[0])[:, None], candidates[1], candidates[0])
    found = sample_vectors(stack, SEEDS, INDICES, TEXTS, best_of=2)
    assert np.array_equal(found, picked)
    assert not np.array_equal(found, plain)
    assert np.array_equal(found[2], plain[2])  # a row without a text has no better one


def test_a_vector_shares_no_draw_with_the_picture_of_its_seed_and_index_nor_with_a_candidate() -> (
    None
):
    """Else the noise of a picture that is drawn on it would tell of it."""
    like, drawn = torch.empty(0), []
    for layer, purpose in ((0, Purpose.PRIOR), (1, Purpose.STEP), (4096, Purpose.STEP)):
        pictures = SampleKeys(SEEDS, INDICES).normal(layer, purpose, like, (64,))
        drawn.append(pictures)
        for candidate in (0, 1, 1023):
            keys = CandidateKeys(SEEDS, INDICES, np.full(8, candidate))
            drawn.append(keys.normal(layer, purpose, like, (64,)))
    values = torch.stack(drawn)[:, 0].flatten()
    assert len(values.unique()) > 0.999 * len(values)


def test_the_best_of_two_lies_nearer_to_the_text() -> None:
    """By what two draws of one law promise: the larger of two is 1/√π deviations above the mean."""
    c = torch.tensor([0.6, -0.5, 0.4, 0.3]).expand(NUM, 4)
    direction = c[0].double()
    spec = prior_spec(ConditionSpec("embedding", 4), stages=(Stage(1, 50.0, 0.005),))
    stack = Stack(replace(spec, rows_per_call=500, sampler="ddpm", layers=(12,))).eval()
    # untrained, it denoises for N(0, sigma_d^2 I), so dot products are normal with mean 0
    plain, best = (
        sample_vectors(stack, ROWS * 0, ROWS, c.numpy(), best_of=k) @ direction.numpy()
        for k in (1, 2)
    )
    assert (best >= plain).all()
    spread = plain.std()
    assert abs(plain.mean()) < 4 * spread / NUM**0.5
    assert best.mean() / spread == pytest.approx(np.pi**-0.5, abs=4 / NUM**0.5)


def test_pictures_and_vectors_are_not_taken_for_each_other(tmp_path: Path) -> None:
    prior, pictures = text_prior(), small_stack()
    labels = np.zeros(8, np.int64)
    with pytest.raises(UserError, match="vectors, not of pictures; draw with sample_vectors"):
        sample(prior, SEEDS, INDICES, TEXTS)
    with pytest.raises(UserError, match="stack of pictures, not of vectors"):
        sample_vectors(pictures, SEEDS, INDICES, labels)
    save_stack(prior, {}, tmp_path / "prior", {})
    save_stack(pictures, {}, tmp_path / "stack", {})
    with pytest.raises(UserError, match="holds a prior, not a stack"):
        Stack.load(tmp_path / "prior")
    with pytest.raises(UserError, match="holds a stack, not a prior"):
        Stack.load(tmp_path / "stack", kind=PRIOR)
    loaded = Stack.load(tmp_path / "prior", kind=PRIOR)
    assert np.array_equal(
        sample_vectors(loaded, SEEDS, INDICES, TEXTS), sample_vectors(prior, SEEDS, INDICES, TEXTS)
    )


def test_what_a_prior_cannot_follow_is_one_line() -> None:
    stack = text_prior()
    with pytest.raises(UserError, match="threshold is of pictures"):
        sample_vectors(stack, SEEDS, INDICES, TEXTS, SamplingOptions(threshold=0.9))
    with pytest.raises(UserError, match="best_of 0 is outside 1 to 1,024"):
        sample_vectors(stack, SEEDS, INDICES, TEXTS, best_of=0)
    with pytest.raises(UserError, match="embed with the encoder"):
        sample_vectors(stack, SEEDS, INDICES, TEXTS[:, 0])
    for condition in (ConditionSpec("none"), ConditionSpec("embedding", 3)):
        other = random_weights(Stack(prior_spec(condition)))
        with pytest.raises(UserError, match="is none; give best_of 1"):
            sample_vectors(other, SEEDS, INDICES, condition.rule.examples(8), best_of=2)


def test_a_model_keeps_whose_vectors_it_draws() -> None:
    own = EncoderId("pictures", "2" * 64, "", 0, "picture", 4)
    assert StackSpec.from_json(prior_spec(TEXT, vectors=own).to_json(), "m").vectors == own
    assert "vectors" not in small_stack().spec.to_json()  # so that older models keep their hashes


def test_no_rows_are_no_vectors() -> None:
    none = np.array([], dtype=np.int64)
    for best_of in (1, 2):
        assert sample_vectors(text_prior(), none, none, TEXTS[:0], best_of=best_of).shape == (0, 4)


def test_is_exact_tries_vectors_too() -> None:
    assert is_exact(text_prior())
