"""The cost of a sample in each stage of a stack, and how workers are shared out by cost."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pipeline.sampling.base import SampleKeys
from pipeline.sampling.loop import SamplingLoop
from pipeline.sampling.options import SamplingOptions
from pipeline.stack import Stack
from pipeline.stack_spec import StackSpec

_WEIGHTS_SHARE = 0.5  # of a device's memory; the rest is for features, and for the library itself


def stage_costs(spec: StackSpec, options: SamplingOptions | None = None) -> tuple[int, ...]:
    """Floating-point operations of one sample in each stage: operations of a call times calls.

    Nothing is computed: tensors on torch's meta device only have shapes. On Fashion-MNIST's stack
    the stages take 12, 36 and 52 % of the operations, and 12, 33 and 55 % of the time on a CPU.
    """
    with torch.device("meta"):
        stack = Stack(spec).requires_grad_(False)
    return tuple(
        _operations(stack, stage) * _calls(spec, stage, options)
        for stage in range(len(spec.stages))
    )


def weight_bytes(spec: StackSpec) -> int:
    """The bytes that all weights of a stack take in memory."""
    with torch.device("meta"):
        stack = Stack(spec)
    return sum(tensor.nbytes for tensor in stack.state_dict().values())


def fits(spec: StackSpec, memory: float) -> bool:
    """Whether ``memory`` bytes hold the whole stack, with room for what its networks compute."""
    return weight_bytes(spec) <= _WEIGHTS_SHARE * memory


def share_out(total: int, costs: Sequence[int]) -> tuple[int, ...]:
    """Shares ``total`` workers among stages by cost; each stage gets at least one.

    Each further worker goes to the slowest stage, since a pipeline is as fast as its slowest stage.

    Args:
        total: workers; with fewer than stages, each stage still gets one.
        costs: of one sample in each stage, in any unit.
    """
    shares = [1] * len(costs)
    for _ in range(total - len(costs)):
        slowest = max(range(len(costs)), key=lambda s: costs[s] / shares[s])
        shares[slowest] += 1
    return tuple(shares)


def _operations(stack: Stack, stage: int) -> int:
    """Of one call of the stage's network for one row."""
    z = torch.empty(1, *stack.spec.picture_shape(stage), device="meta")
    with FlopCounterMode(display=False) as counter:
        examples = stack.spec.condition.rule.examples(1)
        condition = torch.from_numpy(examples).to("meta") if stack.spec.attends else None
        stack(stage, z, torch.empty(1, device="meta"), condition)
    return int(counter.get_total_flops())


class _Counter:
    """A denoiser that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        self.calls += 1
        return z


def _calls(spec: StackSpec, stage: int, options: SamplingOptions | None) -> int:
    """Of the stage's network, for one sample: samplers and guidance differ in it."""
    counter = _Counter()
    loop = SamplingLoop(counter, spec, options, "cpu")
    row = np.zeros(1, np.int64)
    z = torch.zeros(1, *spec.picture_shape(stage))
    loop.run_stage(stage, z, SampleKeys(row, row), spec.condition.rule.examples(1))
    return counter.calls
