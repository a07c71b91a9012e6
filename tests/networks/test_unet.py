"""The U-Net's entrances: who works for whom, and what the condition does."""

from collections.abc import Callable

import pytest
import torch
from small_stack import SPEC, small_stack, text_stack
from torch import Tensor

from pipeline.conditions import ConditionSpec
from pipeline.networks.base import NetworkSpec, pyramid
from pipeline.networks.unet import UNet
from pipeline.stack import Stack

SIGMA = torch.tensor([0.5, 2.0, 7.0])


def noisy(side: int, num: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, 1, side, side, generator=generator)


def touched(stack: Stack, stage: int) -> set[str]:
    """Names of the parameters that take part in a stage's output."""
    stack.zero_grad()
    side = stack.spec.stages[stage].side
    labels = torch.tensor([0, -1, 2])
    stack(stage, noisy(side), SIGMA, labels).square().sum().backward()
    return {
        name
        for name, parameter in stack.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 0
    }


def test_entering_at_the_inner_level_touches_nothing_of_the_outer_one() -> None:
    stack = small_stack()
    inner = touched(stack, 0)
    outer = {
        name
        for name in dict(stack.named_parameters())
        if any(part in name for part in ("levels.1.", "stems.1.", "heads.1."))
    }
    assert outer
    assert not inner & outer
    assert any("levels.0." in name for name in inner)


def test_entering_at_the_outer_level_works_through_the_inner_one() -> None:
    names = touched(small_stack(), 1)
    for part in ("levels.1.", "stems.1.", "heads.1.", "levels.0.", "stems.0.", "condition.null"):
        assert any(part in name for name in names), part
    assert not any("heads.0." in name for name in names)


def test_the_inner_entrances_result_does_not_depend_on_the_outer_levels_weights() -> None:
    stack = small_stack()
    z, labels = noisy(4), torch.tensor([0, 1, 2])
    before = stack(0, z, SIGMA, labels)
    with torch.no_grad():
        for name, parameter in stack.named_parameters():
            if "levels.1." in name or "stems.1." in name:
                parameter.add_(1)
    assert torch.equal(stack(0, z, SIGMA, labels), before)


def test_networks_of_stages_share_nothing() -> None:
    stack = small_stack(network="stage")
    first, second = touched(stack, 0), touched(stack, 1)
    assert all(name.startswith("networks.stage_4.") for name in first)
    assert all(name.startswith("networks.stage_8.") for name in second)
    assert {name for name, _ in stack.named_parameters()} == first | second


@pytest.mark.parametrize("network", ["nested", "stage"])
def test_every_weight_takes_part_in_some_stage(network: str) -> None:
    """What data-parallel training needs: a weight without a gradient would stall it."""
    stack = small_stack(network=network)
    assert touched(stack, 0) | touched(stack, 1) == set(dict(stack.named_parameters()))


@pytest.mark.parametrize("stage", [0, 1])
def test_no_condition_is_the_label_minus_one(stage: int) -> None:
    stack = small_stack()
    z = noisy(SPEC.stages[stage].side)
    absent = stack(stage, z, SIGMA, None)
    assert torch.equal(stack(stage, z, SIGMA, torch.tensor([-1, -1, -1])), absent)
    mixed = stack(stage, z, SIGMA, torch.tensor([-1, 2, -1]))
    assert torch.equal(mixed[[0, 2]], absent[[0, 2]])
    assert not torch.allclose(mixed[1], absent[1])


def test_a_network_without_condition_ignores_labels() -> None:
    stack = small_stack(condition=ConditionSpec("none"), classes=())
    z = noisy(8)
    assert torch.equal(stack(1, z, SIGMA, torch.tensor([0, 1, 2])), stack(1, z, SIGMA, None))


def test_rows_do_not_see_each_other() -> None:
    stack = small_stack()
    z, labels = noisy(8), torch.tensor([0, 1, 2])
    order = torch.tensor([2, 0, 1])
    whole = stack(1, z, SIGMA, labels)
    torch.testing.assert_close(stack(1, z[order], SIGMA[order], labels[order]), whole[order])


def test_the_noise_level_is_seen_continuously() -> None:
    stack = small_stack()
    z = noisy(8, 1)
    near = [stack(1, z, torch.tensor([s]), None) for s in (1.0, 1.001, 2.0)]
    assert 0 < (near[1] - near[0]).norm() < 0.05 * (near[2] - near[0]).norm()


def test_a_pyramid_holds_the_picture_and_its_low_passes_coarsest_first() -> None:
    z = noisy(8)
    sides = [p.shape[-1] for p in pyramid(z, 2)]
    assert sides == [2, 4, 8]
    assert torch.equal(pyramid(z, 2)[2], z)
    torch.testing.assert_close(pyramid(z, 2)[0].sum(), z.sum() / 4)


def test_colour_pictures_that_are_not_square_keep_their_shape() -> None:
    spec = NetworkSpec(3, (4, 8), (8, 8), (1, 2), (0, 1), ConditionSpec("none"), embedding=8)
    z = torch.randn(2, 3, 8, 12)
    out = UNet(spec)(pyramid(z, 1), torch.zeros(2), None)
    assert out.shape == z.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: NetworkSpec(1, (4, 8), (8,), (1, 1), (0,), ConditionSpec("none")), "same length"),
        (lambda: NetworkSpec(1, (4,), (12,), (1,), (0,), ConditionSpec("none")), "multiples of 8"),
        (
            lambda: NetworkSpec(1, (4,), (8,), (1,), (0,), ConditionSpec("none"), attends=(0,)),
            "the condition none has no tokens to attend to",
        ),
    ],
)
def test_levels_that_do_not_fit_together_are_refused(
    change: Callable[[], NetworkSpec], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        change()


def words(num: int = 3) -> Tensor:
    return torch.from_numpy(ConditionSpec("text", 6, 4).rule.examples(num))


def test_pixels_attend_to_the_words_that_are_there_and_to_no_others() -> None:
    stack, text = text_stack(), words()
    z = noisy(8)
    before = stack(1, z, SIGMA, text)
    changed = text.clone()
    changed[0, 1] *= -1  # a word of the first row
    after = stack(1, z, SIGMA, changed)
    assert not torch.allclose(after[0], before[0])
    assert torch.equal(after[1:], before[1:])
    turned = text.clone()
    turned[0, 1], turned[0, 2] = text[0, 2], text[0, 1]  # attention knows no order of its own
    assert torch.allclose(stack(1, z, SIGMA, turned)[0], before[0], atol=1e-5)


def test_longer_places_without_words_change_nothing() -> None:
    stack, longer = text_stack(), text_stack(length=9)
    longer.load_state_dict(stack.state_dict())
    text = words()
    padded = torch.cat((text, torch.zeros(3, 5, 6)), dim=1)
    z = noisy(8)
    assert torch.allclose(longer(1, z, SIGMA, padded), stack(1, z, SIGMA, text), atol=1e-5)


def test_a_dropped_text_is_no_text() -> None:
    stack, text = text_stack(), words()
    z = noisy(8)
    dropped = stack.spec.condition.rule.drop(text, torch.ones(3, dtype=torch.bool))
    assert torch.allclose(stack(1, z, SIGMA, dropped), stack(1, z, SIGMA, None), atol=1e-5)


@pytest.mark.parametrize("network", ["nested", "stage"])
def test_every_weight_of_a_text_stack_takes_part(network: str) -> None:
    stack = text_stack(network=network)
    stack.zero_grad()
    text = words()
    text[1] = 0
    for stage in (0, 1):
        z = noisy(stack.spec.stages[stage].side)
        stack(stage, z, SIGMA, text).square().sum().backward()
    for name, parameter in stack.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("network", ["nested", "stage"])
@pytest.mark.parametrize("stage", [0, 1])
def test_dropout_scales_the_feature_maps_of_each_row_by_its_own_factors(
    network: str, stage: int
) -> None:
    stack = small_stack(network=network)
    num = stack.spec.num_features(stage)
    assert num == (2 * 16, 2 * 16 + 2 * 8)[stage]  # two blocks a level, of the level's width
    z, labels = noisy(SPEC.stages[stage].side), torch.tensor([0, 1, 2])
    plain = stack(stage, z, SIGMA, labels)
    kept = torch.ones(3, num)
    assert torch.equal(stack(stage, z, SIGMA, labels, kept), plain)
    for feature in range(num):
        kept = torch.ones(3, num)
        kept[1, feature] = 0
        dropped = stack(stage, z, SIGMA, labels, kept)
        assert torch.equal(dropped[[0, 2]], plain[[0, 2]])
        assert not torch.equal(dropped[1], plain[1]), feature
