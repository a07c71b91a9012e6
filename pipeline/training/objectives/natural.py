"""Training on the pictures as they are."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.training.objectives.base import StepRows
from pipeline.training.objectives.entry import ObjectiveEntry


@dataclass(frozen=True)
class CrossEntropy:
    """``-log p(y | x)`` in nats."""

    def __call__(
        self, network: nn.Module, parallel: nn.Module, rows: StepRows
    ) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        logits = parallel(rows.x)
        return F.cross_entropy(logits, rows.y), logits.detach()


NATURAL = ObjectiveEntry("none", "the pictures' cross-entropy", lambda _: CrossEntropy())
