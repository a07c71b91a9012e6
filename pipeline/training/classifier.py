"""One optimiser step of a classifier."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from pipeline.networks.classifier import ClassifierNetwork
from pipeline.pictures import to_unit
from pipeline.training.draws import RowDraws
from pipeline.training.fit import Fit, FitRecipe
from pipeline.training.objectives.base import Objective, StepRows
from pipeline.training.objectives.natural import CrossEntropy
from pipeline.training.shifts import shifted

# Shifts are keyed by seed and step alone; what an objective draws, by this as well.
_OBJECTIVE = 1


@dataclass(frozen=True)
class ClassifierRecipe(FitRecipe):
    """How a classifier is trained.

    Attributes:
        objective: what the steps make smaller.
    """

    objective: Objective = field(default_factory=CrossEntropy)


class ClassifierTrainer(Fit):
    """A classifier, its optimiser and its schedule, advanced one batch at a time.

    Args:
        network: trained in place.
        recipe: how to train.
        parallel: the network itself, or its data-parallel wrapper, which averages the gradients
            over the workers.
        first_row: the first row of each batch that this worker holds. All workers hold the same
            number of rows.
        world: the number of workers.
    """

    def __init__(
        self,
        network: ClassifierNetwork,
        recipe: ClassifierRecipe,
        *,
        parallel: nn.Module | None = None,
        first_row: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__(network, recipe, world=world)
        self._classifier, self._objective = network, recipe.objective
        self._parallel = parallel or network
        self._first_row = first_row

    def update(self, images: np.ndarray, targets: np.ndarray) -> None:
        """One step on this worker's rows of a batch; the targets are labels, int64 ``[N]``."""
        device, step = self._device, self.step
        key = (self._recipe.seed, step)
        moved = shifted(images, self._recipe.max_shift, key, first_row=self._first_row)
        x, y = to_unit(moved).to(device), torch.from_numpy(targets.astype(np.int64)).to(device)
        numbers = range(self._first_row, self._first_row + len(y))
        draws = RowDraws((*key, _OBJECTIVE), numbers, numbers.stop, device)
        loss, logits = self._objective(
            self._classifier, self._parallel, StepRows(x, y, step, draws)
        )
        self._descend(loss, (logits.argmax(dim=1) == y).float().mean())
