"""The network of vectors: what reaches it, and what it cannot be built for."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_stack import prior_spec, random_weights
from torch import Tensor

from pipeline.conditions import ConditionSpec
from pipeline.networks.base import NetworkSpec
from pipeline.networks.vector import VectorNetwork
from pipeline.sampling.cost import stage_costs
from pipeline.stack import Stack

SIGMA = torch.tensor([0.5, 2.0, 7.0])
TEXT = ConditionSpec("text", 6, 5)


def prior(**changes: Any) -> Stack:
    return random_weights(Stack(prior_spec(TEXT, **{"attends": (0,), **changes})))


def noisy(num: int = 3) -> Tensor:
    return torch.randn(num, 4, 1, 1, generator=torch.Generator().manual_seed(0))


def texts(num: int = 3) -> Tensor:
    return torch.from_numpy(TEXT.rule.examples(num))


def test_every_weight_takes_part() -> None:
    """What data-parallel training needs: a weight without a gradient would stall it."""
    stack = prior()
    stack(
        0, noisy(), SIGMA, TEXT.rule.drop(texts(), torch.tensor([False, True, False]))
    ).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in stack.parameters())


def test_pooled_vector_and_each_token_that_is_there_change_the_answer_and_no_other_place() -> None:
    stack, c = prior(), texts()
    answer = stack(0, noisy(), SIGMA, c)
    there = c.any(dim=2)[0]
    assert 1 < there.sum() < len(there)
    for place, is_there in enumerate(there):
        other = c.clone()
        other[1, place] = torch.ones(6) if is_there else 0
        found = stack(0, noisy(), SIGMA, other)
        assert torch.equal(found[[0, 2]], answer[[0, 2]])
        assert torch.equal(found[1], answer[1]) != bool(is_there), place


def test_a_prior_that_attends_to_nothing_takes_the_pooled_vector_alone() -> None:
    stack, c = prior(attends=()), texts()
    answer = stack(0, noisy(), SIGMA, c)
    c[:, 1:] = 1
    assert torch.equal(stack(0, noisy(), SIGMA, c), answer)
    c[0, 0] += 1
    assert not torch.equal(stack(0, noisy(), SIGMA, c)[0], answer[0])


def test_no_condition_is_a_row_of_zeros() -> None:
    stack = prior()
    absent = stack(0, noisy(), SIGMA, None)
    torch.testing.assert_close(stack(0, noisy(), SIGMA, torch.zeros(3, 6, 6)), absent)
    c = TEXT.rule.drop(texts(), torch.tensor([True, False, True]))
    mixed = stack(0, noisy(), SIGMA, c)
    torch.testing.assert_close(mixed[[0, 2]], absent[[0, 2]])
    assert not torch.allclose(mixed[1], absent[1])


def test_dropout_scales_the_features_of_each_row_by_its_own_factors() -> None:
    stack = prior()
    num = stack.spec.num_features(0)
    assert num == 2 * 2 * 16  # two blocks, of twice the width inside
    plain = stack(0, noisy(), SIGMA, texts())
    assert torch.equal(stack(0, noisy(), SIGMA, texts(), torch.ones(3, num)), plain)
    for feature in range(num):
        kept = torch.ones(3, num)
        kept[1, feature] = 0
        dropped = stack(0, noisy(), SIGMA, texts(), kept)
        assert torch.equal(dropped[[0, 2]], plain[[0, 2]])
        assert not torch.equal(dropped[1], plain[1]), feature


def test_its_cost_counts_the_tokens_and_every_linear_map() -> None:
    """Two operations a weight of a linear map and row, five tokens for keys and values."""
    stack = prior(layers=(2,), sampler="ddim", guidance=1.0)
    weights = {n: p for n, p in stack.named_parameters() if p.dim() >= 2}
    keys = sum(p.numel() for n, p in weights.items() if "key_value" in n)
    once = sum(p.numel() for n, p in weights.items() if "key_value" not in n)
    attention = 2 * 2 * 6 * 16  # of one query to six places, of width 16, both ways
    assert stage_costs(stack.spec) == (2 * (2 * (once + 5 * keys) + attention),)


@pytest.mark.parametrize("sides", [(2,), (1, 2)])
def test_pictures_are_refused(sides: tuple[int, ...]) -> None:
    ones = (1,) * len(sides)
    widths = (8,) * len(sides)
    spec = NetworkSpec(4, sides, widths, ones, (len(sides) - 1,), ConditionSpec("none"))
    with pytest.raises(ValueError, match="one level of side 1"):
        VectorNetwork(spec)


def test_an_untrained_one_answers_with_the_best_multiple_of_z() -> None:
    stack = Stack.fresh(replace(prior_spec(TEXT), attends=(0,)), 0)
    d2, s2 = stack.spec.sigma_data[0] ** 2, (SIGMA**2)[:, None, None, None]
    torch.testing.assert_close(stack(0, noisy(), SIGMA, texts()), d2 / (d2 + s2) * noisy())
    assert np.isfinite(d2)
