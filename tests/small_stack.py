"""Stacks small enough for tests, with random weights everywhere: an untrained one denoises too."""

from dataclasses import replace
from typing import Any

import torch

from pipeline.chain.schedule import Stage
from pipeline.conditions import ConditionSpec
from pipeline.stack import Stack
from pipeline.stack_spec import ErrorCurve, StackSpec

SPEC = StackSpec(
    shape=(8, 8, 1),
    classes=("zero", "one", "two"),
    condition=ConditionSpec("label", 3),
    stages=(Stage(4, 40.0, 3.0), Stage(8, 3.0, 0.02)),
    sigma_data=(1.3, 0.7),
    tau2=(((0.2,), (0.1,), (0.05,)),),
    network="nested",
    widths=(16, 8),
    blocks=(1, 1),
    embedding=16,
    dropout=0.0,
    rows_per_call=6,
    layers=(2, 3),
    sampler="heun",
    guidance=1.5,
    errors=(ErrorCurve((1.0, 3.7), (0.3, 1.2)), ErrorCurve((-4.0, 1.1), (0.001, 0.3))),
)


def small_stack(seed: int = 0, **changes: Any) -> Stack:
    """A stack of `SPEC` with ``changes``, every weight drawn anew, in evaluation mode."""
    return random_weights(Stack(replace(SPEC, **changes)), seed)


def random_weights(stack: Stack, seed: int = 0) -> Stack:
    """The stack with every weight drawn anew, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return stack.eval()


def text_stack(seed: int = 0, size: int = 6, length: int = 4, **changes: Any) -> Stack:
    """A `small_stack` that is drawn on sentences, and whose pixels attend to their words."""
    condition = ConditionSpec("text", size, length)
    return small_stack(seed, condition=condition, classes=(), attends=(0, 1), **changes)


def prior_spec(condition: ConditionSpec, dimensions: int = 4, **changes: Any) -> StackSpec:
    """Of a stack of vectors whose coefficients are about 0.5."""
    spec = replace(
        SPEC,
        shape=(1, 1, dimensions),
        classes=(),
        condition=condition,
        stages=(Stage(1, 50.0, 0.005),),
        sigma_data=(0.5,),
        tau2=(),
        network="vector",
        widths=(16,),
        blocks=(2,),
        layers=(6,),
        guidance=1.0,
        errors=(ErrorCurve((-5.3, 3.9), (1e-5, 0.25)),),
    )
    return replace(spec, **changes)
