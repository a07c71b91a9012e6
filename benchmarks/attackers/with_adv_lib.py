"""adv-lib (BSD-3-Clause). It imports torchvision for one distance and visdom to draw curves."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from benchmarks.attackers import Task, without

with without("torchvision", "torchvision.models", "visdom"):
    from adv_lib import attacks

SMALLEST = ("ddn", "fmn", "carlini_wagner", "deepfool")


def pgd(task: Task, steps: int, step_size: float) -> Tensor:
    """Its `pgd_linf`."""
    return task.in_batches(
        lambda x, y: attacks.pgd_linf(
            task.network,
            x,
            y,
            task.eps,
            targeted=task.targets is not None,
            steps=steps,
            absolute_step_size=step_size,
        )
    )


def smallest_l2(task: Task, name: str, steps: int) -> Tensor:
    """One of its attacks for the smallest change in L2, one of `SMALLEST`."""

    def run(x: Tensor, y: Tensor) -> Tensor:
        network = task.network
        runs: dict[str, Callable[[], Any]] = {
            "ddn": lambda: attacks.ddn(network, x, y, steps=steps),
            "fmn": lambda: fmn_l2(network, x, y, steps),
            "carlini_wagner": lambda: attacks.carlini_wagner_l2(
                network, x, y, max_iterations=steps
            ),
            "deepfool": lambda: attacks.df(network, x, y, steps=steps, norm=2),
        }
        found: Tensor = runs[name]()
        return found.detach()

    return task.in_batches(run)


def fmn_l2(network: nn.Module, x: Tensor, y: Tensor, steps: int) -> Tensor:
    """Its FMN in L2 on one batch."""
    found: Tensor = attacks.fmn(network, x, y, norm=2, steps=steps)
    return found.detach()


def fmn_linf(task: Task, steps: int) -> Tensor:
    """Its FMN in L∞."""
    return task.in_batches(
        lambda x, y: attacks.fmn(task.network, x, y, norm=math.inf, steps=steps).detach()
    )
