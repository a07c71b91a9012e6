"""foolbox (MIT)."""

from torch import Tensor

from benchmarks.attackers import Task, without

with without():  # one of its attacks imports a namespace that scipy is about to remove
    from foolbox.attacks import LinfPGD
    from foolbox.criteria import Misclassification, TargetedMisclassification
    from foolbox.models.pytorch import PyTorchModel


def pgd(task: Task, steps: int, step_size: float) -> Tensor:
    """Its `LinfPGD`, without the three forward passes of its own check of the outcome."""
    model = PyTorchModel(task.network, bounds=(0, 1), device=task.x.device)
    attack = LinfPGD(abs_stepsize=step_size, steps=steps, random_start=True)

    goal = Misclassification if task.targets is None else TargetedMisclassification

    def run(x: Tensor, y: Tensor) -> Tensor:
        found: Tensor = attack.run(model, x, goal(y), epsilon=task.eps)
        return found

    return task.in_batches(run)
