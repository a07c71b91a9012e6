"""adv-lib (BSD-3-Clause). It imports torchvision for one distance and visdom to draw curves."""

import torch
from torch import Tensor

from benchmarks.attackers import Task, without

with without("torchvision", "torchvision.models", "visdom"):
    import sys

    sys.modules["torchvision"].models = sys.modules["torchvision.models"]  # type: ignore[attr-defined]
    from adv_lib import attacks


def pgd(task: Task, steps: int, step_size: float) -> Tensor:
    """Its `pgd_linf`."""
    return task.in_batches(
        lambda x, y: attacks.pgd_linf(
            task.network, x, y, task.eps, steps=steps, absolute_step_size=step_size
        )
    )


def smallest_l2(task: Task, name: str, steps: int) -> Tensor:
    """One of its attacks for the smallest change in L2: ddn, fmn, carlini_wagner or deepfool."""

    def run(x: Tensor, y: Tensor) -> Tensor:
        if name == "ddn":
            return attacks.ddn(task.network, x, y, steps=steps)
        if name == "fmn":
            return attacks.fmn(task.network, x, y, norm=2, steps=steps)
        if name == "carlini_wagner":
            return attacks.carlini_wagner_l2(task.network, x, y, max_iterations=steps)
        if name == "deepfool":
            return attacks.df(task.network, x, y, steps=steps, norm=2)
        raise ValueError(f"adv-lib has no {name} here")

    return task.in_batches(run)


def smallest_linf(task: Task, steps: int) -> Tensor:
    """Its FMN in L∞."""
    return task.in_batches(
        lambda x, y: attacks.fmn(task.network, x, y, norm=float("inf"), steps=steps)
    )


assert torch  # its version decides what adv-lib draws
