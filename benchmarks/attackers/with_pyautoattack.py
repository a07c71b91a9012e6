"""pyautoattack (MIT): AutoAttack's own code, repackaged."""

from pyautoattack.autoattack import AutoAttack
from torch import Tensor

from benchmarks.attackers import Task


def standard(task: Task) -> Tensor:
    """AutoAttack's standard version."""
    attack = AutoAttack(task.network, norm="Linf", eps=task.eps, seed=task.seed, version="standard")
    attack.verbose = False
    found: Tensor = attack.run_standard_evaluation(task.x, task.y, batch_size=task.batch)[0]
    return found
