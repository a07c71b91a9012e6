"""Inpainting by a real network: known pixels exactly, and the same bits in any batch."""

from dataclasses import replace

import numpy as np
import pytest
from small_stack import SPEC, small_stack

from pipeline.errors import UserError
from pipeline.sampling import SAMPLERS, SamplingOptions, sample
from pipeline.sampling.inpainting import inpaint, options_around

SEEDS = np.array([3, 3, -1, 2**40, 3, 3, 8, 3, 3])
INDICES = np.array([0, 1, 2, 2**33, 1, 5, 0, 7, 8])
LABELS = np.array([0, 1, -1, 2, 1, 0, 1, 2, -1])
_RNG = np.random.default_rng(0)
PICTURES = _RNG.integers(0, 256, (9, *SPEC.shape), np.uint8)
KNOWN = _RNG.random((9, 8, 8)) < _RNG.random((9, 1, 1))  # from few pixels to most of them
KNOWN[0], KNOWN[1], KNOWN[2, :4] = False, True, True
SINGLE_STEP = sorted(name for name, entry in SAMPLERS.items() if not entry.multistep)


@pytest.mark.parametrize(
    ("sampler", "how"),
    [
        *((name, {"resample": 2}) for name in SINGLE_STEP),
        ("heun", {"resample": 1, "moment_steps": 2}),
    ],
)
def test_a_row_is_the_same_bits_in_any_batch_and_its_known_pixels_are_as_they_were(
    sampler: str, how: dict[str, int]
) -> None:
    stack, options = small_stack(), SamplingOptions(sampler=sampler, threshold=0.99)
    rows = (SEEDS, INDICES, LABELS, PICTURES, KNOWN)
    together = inpaint(stack, *rows, options, **how)
    assert together.dtype == np.uint8
    assert np.array_equal(together[KNOWN], PICTURES[KNOWN])
    assert not np.array_equal(together[~KNOWN], PICTURES[~KNOWN])
    order = np.random.default_rng(1).permutation(9)
    shuffled = inpaint(stack, *(part[order] for part in rows), options, **how)
    assert np.array_equal(shuffled, together[order])
    for i in (0, 3, 8):
        alone = inpaint(stack, *(part[[i]] for part in rows), options, **how)
        assert np.array_equal(alone, together[[i]])


def test_with_nothing_known_and_one_repetition_it_is_the_plain_sample_bit_for_bit() -> None:
    stack, nothing = small_stack(), np.zeros_like(KNOWN)
    plain = sample(stack, SEEDS, INDICES, LABELS)
    once = inpaint(stack, SEEDS, INDICES, LABELS, PICTURES, nothing, resample=1)
    assert np.array_equal(once, plain)
    twice = inpaint(stack, SEEDS, INDICES, LABELS, PICTURES, nothing, resample=2)
    assert not np.array_equal(twice, plain)


def test_the_unknown_pixels_under_the_mask_do_not_matter_but_the_known_ones_do() -> None:
    stack = small_stack()
    rows = (SEEDS[2:3], INDICES[2:3], LABELS[2:3])
    first = inpaint(stack, *rows, PICTURES[2:3], KNOWN[2:3], resample=2)
    hidden = np.where(KNOWN[2:3, :, :, None], PICTURES[2:3], 255 - PICTURES[2:3])
    assert np.array_equal(inpaint(stack, *rows, hidden, KNOWN[2:3], resample=2), first)
    other = np.where(KNOWN[2:3, :, :, None], 255 - PICTURES[2:3], PICTURES[2:3])
    drawn = inpaint(stack, *rows, other, KNOWN[2:3], resample=2)
    assert not np.array_equal(drawn[~KNOWN[2:3]], first[~KNOWN[2:3]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"options": SamplingOptions(sampler="dpmpp_2m")},
            "dpmpp_2m goes on from the layer before",
        ),
        ({"resample": 0}, "resample 0 is outside 1 to 1000"),
        ({"resample": 1001}, "resample 1001 is outside"),
        ({"moment_steps": 101}, "moment_steps 101 is outside 0 to 100"),
        ({"pictures": PICTURES[:, :4]}, r"pictures have the shape \(9, 4, 8, 1\)"),
        ({"known": KNOWN[:3]}, r"known have the shape \(3, 8, 8\)"),
    ],
)
def test_what_inpainting_cannot_follow_is_refused(changes: dict[str, object], message: str) -> None:
    given = {"pictures": PICTURES, "known": KNOWN} | changes
    with pytest.raises(UserError, match=message):
        inpaint(small_stack(), SEEDS, INDICES, LABELS, **given)  # type: ignore[arg-type]


def test_a_model_whose_own_sampler_is_a_multistep_one_draws_by_another_that_nobody_named() -> None:
    assert options_around(SPEC, None).sampler == "heun"
    multistep = replace(SPEC, sampler="dpmpp_2m")
    assert options_around(multistep, None).sampler == "ancestral"
    assert options_around(replace(multistep, errors=()), None).sampler == "ddpm"
    assert options_around(multistep, SamplingOptions("ddim")).sampler == "ddim"
    rows = (SEEDS[:2], INDICES[:2], LABELS[:2], PICTURES[:2], KNOWN[:2])
    found = inpaint(small_stack(sampler="dpmpp_2m"), *rows, resample=2)
    assert np.array_equal(
        found, inpaint(small_stack(), *rows, SamplingOptions("ancestral"), resample=2)
    )


def test_steps_of_moments_change_what_is_drawn_and_nothing_where_nothing_is_known() -> None:
    stack = small_stack()
    rows = (SEEDS[1:4], INDICES[1:4], LABELS[1:4], PICTURES[1:4])
    plain = inpaint(stack, *rows, KNOWN[1:4], resample=1)
    given = inpaint(stack, *rows, KNOWN[1:4], resample=1, moment_steps=2)
    assert np.array_equal(plain[0], given[0])  # all of it is known
    assert not np.array_equal(plain[1], given[1])
    nothing = np.zeros_like(KNOWN[1:4])
    assert np.array_equal(
        inpaint(stack, *rows, nothing, resample=1, moment_steps=2),
        inpaint(stack, *rows, nothing, resample=1),
    )
