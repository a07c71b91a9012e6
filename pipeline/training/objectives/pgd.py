"""Adversarial training as Madry et al. have it: the loss of the worst pictures."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.training.objectives.base import StepRows
from pipeline.training.objectives.entry import OF_INNER_ATTACK, ObjectiveEntry
from pipeline.training.objectives.inner import InnerAttack


@dataclass(frozen=True)
class PgdTraining:
    """``max_{|x' - x| <= ε} -log p(y | x')`` in nats, the maximum as the inner attack finds it.

    Madry, Makelov, Schmidt, Tsipras and Vladu, "Towards deep learning models resistant to
    adversarial attacks", 2017 (arXiv 1706.06083), equation 2.1.
    """

    attack: InnerAttack

    def __call__(
        self, network: nn.Module, parallel: nn.Module, rows: StepRows
    ) -> tuple[Tensor, Tensor]:
        """See `Objective`; the logits are the perturbed pictures'."""
        worse = self.attack(
            network, lambda logits: F.cross_entropy(logits, rows.y, reduction="sum"), rows
        )
        logits = parallel(worse)
        return F.cross_entropy(logits, rows.y), logits.detach()


PGD = ObjectiveEntry(
    "pgd",
    "that of the worst pictures within eps",
    lambda settings: PgdTraining(settings.attack),
    OF_INNER_ATTACK,
)
