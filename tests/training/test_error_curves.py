"""The measured error curves against the closed form of a stack whose networks return zero."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_stack import SPEC
from torch import Tensor

from pipeline.chain.haar import low_pass_to
from pipeline.stack import Stack
from pipeline.stack_spec import ErrorCurve
from pipeline.training.errors import measure_errors


def pictures(num: int = 60) -> Tensor:
    return torch.rand(num, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def untrained() -> Stack:
    torch.manual_seed(0)
    return Stack(SPEC)


def test_errors_are_those_of_the_best_multiple_of_the_noisy_picture() -> None:
    """``x_hat = c z`` errs by ``(1 - c)^2 E x^2 + c^2 s^2`` per coefficient."""
    x = pictures()
    curves = measure_errors(untrained(), [(x[:40], None), (x[40:], None)], num_levels=9)
    assert len(curves) == 2
    for stage, (log_sigma, errors) in enumerate(curves):
        low, high = SPEC.stages[stage].sigma_low, SPEC.stages[stage].sigma_high
        np.testing.assert_allclose(np.exp(log_sigma), np.geomspace(low, high, 9), rtol=1e-9)
        x_r = low_pass_to(x, SPEC.stages[stage].side).double()
        d, count = SPEC.sigma_data[stage], x_r.numel()
        for level, found in zip(log_sigma, errors, strict=True):
            s = math.exp(level)
            c = d**2 / (d**2 + s**2)
            # error per coefficient = ((1-c) x - c s e)^2, with variance over the noise e
            a, b = (1 - c) * x_r, c * s
            exact = float((a**2).mean()) + b**2
            spread = math.sqrt(float((4 * a**2 * b**2).mean()) + 2 * b**4)
            assert abs(found - exact) < 5 * spread / math.sqrt(count) + 1e-6 * exact


def test_the_same_pictures_give_the_same_curves_however_they_are_batched() -> None:
    x, labels = pictures(20), torch.arange(20) % 3
    stack = untrained()
    whole = measure_errors(stack, [(x, labels)], num_levels=3, seed=2**62)
    parts = [(x[:7], labels[:7]), (x[7:], labels[7:])]
    again = measure_errors(stack, parts, num_levels=3, seed=2**62)
    assert whole == measure_errors(stack, iter([(x, labels)]), num_levels=3, seed=2**62)
    np.testing.assert_allclose(whole[1][1], again[1][1], rtol=1e-5)
    other = measure_errors(stack, parts, num_levels=3, seed=2**62 + 1)
    assert all(a != b for a, b in zip(again[1][1], other[1][1], strict=True))


def test_measuring_switches_dropout_off_and_sees_the_condition() -> None:
    stack = Stack(replace(SPEC, dropout=0.9)).train()
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.add_(0.05)
    x = pictures(8)
    one = measure_errors(stack, [(x, torch.zeros(8, dtype=torch.int64))], num_levels=2)
    assert one == measure_errors(stack, [(x, torch.zeros(8, dtype=torch.int64))], num_levels=2)
    assert one != measure_errors(stack, [(x, None)], num_levels=2)


def test_the_curves_are_what_a_spec_interpolates() -> None:
    curves = measure_errors(untrained(), [(pictures(4), None)], num_levels=5)
    spec = replace(SPEC, errors=tuple(ErrorCurve(*curve) for curve in curves))
    for stage, (log_sigma, errors) in enumerate(curves):
        for level, error in zip(log_sigma, errors, strict=True):
            assert spec.mean_squared_error(stage, math.exp(level)) == pytest.approx(error)
