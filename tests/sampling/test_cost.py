"""What stages cost, counted by hand beside the counter; workers where they are needed."""

from itertools import product

import pytest
import torch
from small_stack import SPEC, small_stack
from torch import nn

from pipeline.conditions import ConditionSpec
from pipeline.sampling import SamplingOptions
from pipeline.sampling.cost import fits, share_out, stage_costs, weight_bytes


def operations(network: nn.Module, run: object) -> int:
    """Twice the multiply-adds of all convolutions and linear layers that a call goes through."""
    total = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += 2 * output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += 2 * output.numel() * module.in_features

    hooks = [m.register_forward_hook(count) for m in network.modules()]
    assert callable(run)
    run()
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize("network", ["nested", "stage"])
def test_a_stage_costs_its_networks_operations_times_its_calls(network: str) -> None:
    stack = small_stack(network=network)
    options = SamplingOptions(sampler="heun", layers=(2, 3), guidance=1.5)
    costs = stage_costs(stack.spec, options)
    # heun: two calls a layer, one in the last; guidance doubles them
    for stage, (cost, calls) in enumerate(zip(costs, (2 * 2 * 2, 2 * (2 * 2 + 1)), strict=True)):
        z = torch.zeros(1, *stack.spec.picture_shape(stage))
        one = operations(stack, lambda z=z, s=stage: stack(s, z, torch.ones(1), None))
        # attention over the 4x4 pixels of the innermost level: two products of 16x16x16
        assert cost == (one + 2 * 2 * 16 * 16 * 16) * calls


def test_guidance_and_the_number_of_layers_count() -> None:
    plain = stage_costs(SPEC, SamplingOptions(sampler="ddim", layers=(2, 4), guidance=1.0))
    more = stage_costs(SPEC, SamplingOptions(sampler="ddim", layers=(6, 4), guidance=1.0))
    guided = stage_costs(SPEC, SamplingOptions(sampler="ddim", layers=(2, 4), guidance=2.0))
    assert more == (3 * plain[0], plain[1])
    assert guided == (2 * plain[0], 2 * plain[1])


def test_a_stack_without_condition_has_costs_too() -> None:
    changes = {"condition": ConditionSpec("none"), "classes": ()}
    assert all(cost > 0 for cost in stage_costs(small_stack(**changes).spec))


def test_weights_are_counted_in_bytes() -> None:
    stack = small_stack()
    numbers = sum(tensor.numel() for tensor in stack.state_dict().values())
    assert weight_bytes(stack.spec) == 4 * numbers
    assert fits(stack.spec, 8 * numbers)
    assert not fits(stack.spec, 8 * numbers - 1)


@pytest.mark.parametrize(
    ("total", "costs", "shares"),
    [
        (3, (1, 1, 1), (1, 1, 1)),
        (2, (1, 5, 9), (1, 1, 1)),  # fewer than the stages: one each all the same
        (10, (12, 33, 55), (2, 3, 5)),
        (100, (12, 33, 55), (12, 33, 55)),
        (4, (1, 100), (1, 3)),
        (7, (5,), (7,)),
    ],
)
def test_workers_go_where_the_pipeline_is_slowest(
    total: int, costs: tuple[int, ...], shares: tuple[int, ...]
) -> None:
    assert share_out(total, costs) == shares


@pytest.mark.parametrize("total", range(3, 13))
@pytest.mark.parametrize("costs", [(12, 33, 55), (1, 1, 9), (7, 50, 3)])
def test_no_other_sharing_makes_a_faster_pipeline(total: int, costs: tuple[int, ...]) -> None:
    def slowest(shares: tuple[int, ...]) -> float:
        return max(cost / share for cost, share in zip(costs, shares, strict=True))

    others = product(range(1, total + 1), repeat=3)
    best = min(slowest(shares) for shares in others if sum(shares) == total)
    assert slowest(share_out(total, costs)) == best
