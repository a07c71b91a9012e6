"""foolbox (MIT)."""

from torch import Tensor

from benchmarks.attackers import Task, without

with without():  # one of its attacks imports a namespace that scipy is about to remove
    import foolbox


def pgd(task: Task, steps: int, step_size: float) -> Tensor:
    """Its `LinfPGD`, without the three forward passes of its own check of the outcome."""
    model = foolbox.PyTorchModel(task.network, bounds=(0, 1), device=task.x.device)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=step_size, steps=steps, random_start=True)

    def run(x: Tensor, y: Tensor) -> Tensor:
        found: Tensor = attack.run(
            model, x, foolbox.criteria.Misclassification(y), epsilon=task.eps
        )
        return found

    return task.in_batches(run)
