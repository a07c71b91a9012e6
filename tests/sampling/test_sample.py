"""Samples of a real network on the CPU: each a pure function of its own seed, index and label."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from small_stack import SPEC, small_stack, text_stack

from pipeline.conditions import ConditionSpec
from pipeline.errors import UserError
from pipeline.pictures import from_signed
from pipeline.sampling import SAMPLERS, SamplingOptions, is_exact, sample, trajectory
from pipeline.stack import Stack

SEEDS = np.array([3, 3, -1, 2**40, 3, 3, 8, 3, 3])
INDICES = np.array([0, 1, 2, 2**33, 1, 5, 0, 7, 8])
LABELS = np.array([0, 1, -1, 2, 1, 0, 1, 2, -1])


def test_a_class_that_nothing_was_trained_on_is_not_drawn() -> None:
    stack = small_stack(untrained=(0,))
    with pytest.raises(UserError, match="no picture was trained on for the class"):
        sample(stack, SEEDS[:2], INDICES[:2], np.array([1, 0]))
    assert is_exact(stack) == is_exact(small_stack())  # its own look draws of the others


@pytest.mark.parametrize("network", ["nested", "stage"])
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_sample_is_the_same_bits_in_any_batch_order_and_padding(
    sampler: str, network: str
) -> None:
    stack = small_stack(network=network)
    options = SamplingOptions(sampler=sampler, threshold=0.99)
    together = sample(stack, SEEDS, INDICES, LABELS, options)  # two calls of six, one padded
    assert together.shape == (9, 8, 8, 1)
    assert together.dtype == np.uint8
    order = np.random.default_rng(1).permutation(9)
    shuffled = sample(stack, SEEDS[order], INDICES[order], LABELS[order], options)
    assert np.array_equal(shuffled, together[order])
    for i in (0, 3, 8):
        alone = sample(stack, SEEDS[[i]], INDICES[[i]], LABELS[[i]], options)
        assert np.array_equal(alone, together[[i]])


def test_a_sample_of_a_sentence_is_the_same_bits_in_any_batch_and_of_others_it_is_another() -> None:
    stack = text_stack()
    texts = stack.spec.condition.rule.examples(9)
    texts[4] = 0  # no condition
    together = sample(stack, SEEDS, INDICES, texts)
    for i in (0, 3, 4, 8):
        alone = sample(stack, SEEDS[[i]], INDICES[[i]], texts[[i]])
        assert np.array_equal(alone, together[[i]])
    texts[3, 1] *= -1  # a word
    other = sample(stack, SEEDS, INDICES, texts)
    same = [np.array_equal(one, two) for one, two in zip(together, other, strict=True)]
    assert same == [i != 3 for i in range(9)]
    assert is_exact(stack)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_level_of_a_row_is_the_same_bits_whoever_its_neighbours_are(sampler: str) -> None:
    stack = small_stack()
    options = SamplingOptions(sampler=sampler)
    size = stack.rows_per_call
    with torch.inference_mode():
        one = trajectory(stack, SEEDS[:size], INDICES[:size], LABELS[:size], options)
        other = trajectory(stack, SEEDS[-size:], INDICES[-size:], LABELS[-size:], options)
        for z, z_other in zip(one, other, strict=True):
            # rows 3, 4 and 5 are in both batches, at other places
            assert torch.equal(z[3:], z_other[:3])
            assert not torch.equal(z[0], z_other[5])


def test_seed_index_and_label_each_change_the_sample() -> None:
    pictures = sample(
        small_stack(),
        np.array([3, 4, 3, 3, 3]),
        np.array([0, 0, 1, 0, 0]),
        np.array([0, 0, 0, 1, 0]),
    )
    assert np.array_equal(pictures[0], pictures[4])
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_a_trajectory_holds_every_level_and_ends_at_the_sample() -> None:
    stack = small_stack()
    size = stack.rows_per_call
    with torch.inference_mode():
        z = list(trajectory(stack, SEEDS[:size], INDICES[:size], LABELS[:size]))
    assert [tuple(level.shape[1:]) for level in z] == [(1, 4, 4)] * 2 + [(1, 8, 8)] * 4
    assert z[0].dtype == torch.float32
    # the prior's standard deviation is sigma_0 = 40
    assert 30 < z[0].std() < 50
    pictures = sample(stack, SEEDS[:size], INDICES[:size], LABELS[:size])
    assert np.array_equal(from_signed(z[-1]), pictures)


def test_sampling_leaves_no_dropout_on_and_restarts_nothing() -> None:
    stack = small_stack(dropout=0.5).train()
    torch.manual_seed(1)
    expected_next = torch.rand(3)
    torch.manual_seed(1)
    first = sample(stack, SEEDS[:2], INDICES[:2], LABELS[:2])
    assert torch.equal(torch.rand(3), expected_next)  # no draw from the global generator
    assert np.array_equal(sample(stack, SEEDS[:2], INDICES[:2], LABELS[:2]), first)


def test_no_rows_are_no_pictures() -> None:
    none = np.array([], dtype=np.int64)
    assert sample(small_stack(), none, none, none).shape == (0, 8, 8, 1)


@pytest.mark.parametrize("label", [3, -2])
def test_a_label_outside_the_classes_is_refused(label: int) -> None:
    with pytest.raises(UserError, match=f"label {label} is outside the model's classes 0 to 2"):
        sample(small_stack(), SEEDS[:2], INDICES[:2], np.array([0, label]))


def test_a_stack_without_condition_samples() -> None:
    stack = small_stack(condition=ConditionSpec("none"), classes=())
    rows = np.arange(2)
    unlabelled = np.full(2, -1)
    assert sample(stack, SEEDS[:2], rows, unlabelled).shape == (2, 8, 8, 1)


def test_more_layers_or_another_sampler_change_the_sample() -> None:
    stack = small_stack()
    pictures = [
        sample(stack, SEEDS[:1], INDICES[:1], LABELS[:1], SamplingOptions(**options))
        for options in ({}, {"layers": (3, 3)}, {"sampler": "ddim"}, {"guidance": 4.0})
    ]
    assert all(not np.array_equal(a, b) for a, b in pairwise(pictures))


def test_is_exact_says_yes_on_the_cpu() -> None:
    assert is_exact(small_stack())
    assert is_exact(small_stack(condition=ConditionSpec("none"), classes=()))


class _Neighbourly(Stack):
    """A denoiser whose rows depend on their neighbours, as a GPU's convolutions may in a bit."""

    def forward(
        self, stage: int, z: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None
    ) -> torch.Tensor:
        x_hat: torch.Tensor = super().forward(stage, z, sigma, condition)
        return x_hat + 0.1 * x_hat.mean()


def test_is_exact_says_no_when_neighbours_are_felt() -> None:
    stack = _Neighbourly(replace(SPEC))
    assert not is_exact(stack.eval())
