"""Ours and our peers' attacks on one and the same frozen network, one library a module.

Every peer's module has `pgd` with one signature (see `PeersPgd`): pictures float32
``[N, C, H, W]`` in [0, 1] and labels in, what the library calls its adversarial pictures out, as it
returns them. All begin at a random point and take steps of the same length. A network's parameters
want no gradients here: libraries that fill them all the same are spared that.
"""

import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Task:
    """What is attacked: pictures in L∞.

    Attributes:
        network: to logits, frozen.
        x: float32 ``[N, C, H, W]`` in [0, 1].
        y: int64 ``[N]``.
        levels: the ball's radius in levels of 1/255.
        batch: pictures that a peer is given at a time; so many as suit the network's passes best.
        seed: of what is drawn.
        targets: int64 ``[N]``, the classes to be answered; None for any wrong one.
    """

    network: nn.Module
    x: Tensor
    y: Tensor
    levels: int
    batch: int
    seed: int = 0
    targets: Tensor | None = None

    @property
    def eps(self) -> float:
        """The radius in [0, 1] units."""
        return self.levels / 255

    @property
    def goal(self) -> Tensor:
        """int64 ``[N]``: the targets where there are any, else the labels."""
        return self.y if self.targets is None else self.targets

    def in_batches(self, attack: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """What the attack makes of all pictures and their `goal`, a batch at a time."""
        torch.manual_seed(self.seed)
        parts = zip(self.x.split(self.batch), self.goal.split(self.batch), strict=True)
        return torch.cat([attack(x, goal) for x, goal in parts])


class PeersPgd(Protocol):
    """A library's PGD."""

    def __call__(self, task: Task, steps: int, step_size: float) -> Tensor:
        """So many steps, each of this length in [0, 1] units; towards the targets, if there are."""


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """Empty stand-ins for modules that a library imports and does not need here."""
    missing = [name for name in modules if name not in sys.modules]
    for name in missing:
        sys.modules[name] = types.ModuleType(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for name in missing:
            del sys.modules[name]
