"""torchattacks (MIT)."""

import torchattacks
from torch import Tensor

from benchmarks.attackers import Task


def pgd(task: Task, steps: int, step_size: float) -> Tensor:
    """Its PGD."""
    attack = torchattacks.PGD(task.network, eps=task.eps, alpha=step_size, steps=steps)
    if task.targets is not None:
        attack.set_mode_targeted_by_label(quiet=True)
    return task.in_batches(attack)
