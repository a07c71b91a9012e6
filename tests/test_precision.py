"""TF32 is off wherever something is stored, judged or reported, and as it was after that."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from small_stack import SPEC, small_stack

from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.pgd import Pgd
from pipeline.chain.schedule import build_schedule
from pipeline.classifier import FrozenClassifier
from pipeline.likelihood import estimate_bound
from pipeline.precision import full_float32
from pipeline.sampling import sample, sample_stage


def allowed():
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.fixture(params=[(True, False), (True, True)], ids=["torch's own", "all"])
def setting(request):
    before = allowed()
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = request.param
    yield request.param
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


class Watched(torch.autograd.Function):
    """The identity, which notes the setting on its way there and back."""

    seen: ClassVar[set] = set()

    @staticmethod
    def forward(ctx, x):
        Watched.seen.add(("forward", *allowed()))
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        Watched.seen.add(("backward", *allowed()))
        return gradient


class WatchedClassifier(torch.nn.Module):
    def forward(self, x):
        return Watched.apply(x).flatten(1)[:, :3]


def drawn():
    stack = small_stack()
    stack.register_forward_pre_hook(lambda *_: Watched.seen.add(("forward", *allowed())))
    return stack


def sampled():
    sample(drawn(), np.zeros(2), np.arange(2), np.zeros(2))


def sampled_by_stage():
    sample_stage(drawn(), 0, None, np.zeros(2), np.arange(2), np.zeros(2))


def judged():
    model = FrozenClassifier(WatchedClassifier(), ("a", "b", "c"), (4, 4, 1))
    model.logits_of(np.zeros((2, 4, 4, 1), np.uint8))


def attacked():
    x = torch.full((2, 1, 4, 4), 0.2)
    rows = torch.arange(2)
    attack_rows(Pgd(Ball(Norm.LINF, 4), steps=2), WatchedClassifier(), x, rows, rows)


def bounded():
    stack = drawn()
    schedule = build_schedule(SPEC.stages, SPEC.layers)
    estimate_bound(
        stack,
        schedule,
        torch.ones(2, 1, 8, 8),
        torch.zeros(2, dtype=torch.int64),
        tau2_after=SPEC.tau2_after,
        variance=SPEC.decoder_variance,
    )


@pytest.mark.parametrize("door", [sampled, sampled_by_stage, judged, attacked, bounded])
def test_every_door_computes_in_full_float32_and_leaves_the_setting_as_it_was(door, setting):
    Watched.seen.clear()
    door()
    ways = {"forward", "backward"} if door is attacked else {"forward"}
    assert Watched.seen == {(way, False, False) for way in ways}
    assert allowed() == setting


def test_the_setting_comes_back_after_an_error(setting):
    with pytest.raises(RuntimeError), full_float32():
        raise RuntimeError
    assert allowed() == setting
