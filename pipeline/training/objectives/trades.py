"""TRADES: accuracy on the pictures as they are, and answers that do not change around them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.training.objectives.base import StepRows
from pipeline.training.objectives.entry import OF_INNER_ATTACK, ObjectiveEntry
from pipeline.training.objectives.inner import InnerAttack


@dataclass(frozen=True)
class Trades:
    """``-log p(y | x) + β max_{|x' - x| <= ε} KL(p(· | x) ‖ p(· | x'))`` in nats.

    Zhang, Yu, Jiao, Xing, El Ghaoui and Jordan, "Theoretically principled trade-off between
    robustness and accuracy", 2019 (arXiv 1901.08573), equation 5, with the divergence as the
    authors' own program has it; their ``1/λ`` is ``beta``. The gradient goes through both answers.

    Attributes:
        attack: finds x'.
        beta: β, above 0; the authors take 6 on CIFAR-10.
    """

    attack: InnerAttack
    beta: float

    def __call__(
        self, network: nn.Module, parallel: nn.Module, rows: StepRows
    ) -> tuple[Tensor, Tensor]:
        """See `Objective`; the logits are the perturbed pictures'."""
        with torch.no_grad():
            target = F.log_softmax(network(rows.x), dim=1)
        worse = self.attack(network, lambda logits: divergence(target, logits).sum(), rows)
        clean, perturbed = parallel(torch.cat((rows.x, worse))).chunk(2)
        spread = divergence(F.log_softmax(clean, dim=1), perturbed).mean()
        return F.cross_entropy(clean, rows.y) + self.beta * spread, perturbed.detach()


def divergence(log_p: Tensor, logits: Tensor) -> Tensor:
    """``KL(p ‖ softmax(logits))`` of each row, ``[N]``, from the logarithms of p ``[N, K]``."""
    return F.kl_div(F.log_softmax(logits, dim=1), log_p, reduction="none", log_target=True).sum(1)


TRADES = ObjectiveEntry(
    "trades",
    "the first, and trades_beta times how far the answer changes within eps",
    lambda settings: Trades(settings.attack, settings.trades_beta),
    (*OF_INNER_ATTACK, "trades_beta"),
)
