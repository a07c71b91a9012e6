"""Consistency regularisation: the answers under different noise agree, and are sure."""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import UserError
from pipeline.training.objectives.base import StepRows
from pipeline.training.objectives.entry import OF_NOISE, ObjectiveEntry
from pipeline.training.objectives.noisy import NoisyCopies


@dataclass(frozen=True)
class Consistency:
    """``E[-log p(y | x + σ ε)] + λ E[KL(p̄ ‖ p(· | x + σ ε))] + η H(p̄)`` in nats, p̄ the mean of p.

    Jeong and Shin, "Consistency regularization for certified robustness of smoothed classifiers",
    2020 (arXiv 2006.04062), equations 8 and 9, the means over m copies. The gradient goes through
    p̄ too.

    Attributes:
        copies: at least 2 of each picture; the authors take 2.
        weight: λ; the authors take 10, and 20 at σ = 0.25 on CIFAR-10.
        entropy_weight: η; the authors take 0.5.
    """

    copies: NoisyCopies
    weight: float
    entropy_weight: float

    def __post_init__(self) -> None:
        if self.copies.num < 2:
            raise UserError(
                "consistency compares the copies of a picture: noise_draws must be at least 2, not "
                f"{self.copies.num}"
            )

    def __call__(
        self, network: nn.Module, parallel: nn.Module, rows: StepRows
    ) -> tuple[Tensor, Tensor]:
        """See `Objective`; the logits are the first copy's."""
        logits = parallel(self.copies.pictures(rows.x, self.copies.noise(rows)))
        loss = F.cross_entropy(logits, rows.y.repeat_interleave(self.copies.num))
        log_p = F.log_softmax(self.copies.by_row(logits), dim=2)
        log_mean = mean_log_probability(log_p)
        # Σ p̄ log p̄, once for both terms: KL = Σ p̄ log p̄ - Σ p̄ log p, and H = -Σ p̄ log p̄.
        mean = log_mean.exp()
        negative_entropy = (mean * log_mean).sum(1)
        crossed = (mean[:, None] * log_p).sum(2).mean(1)
        spread = (negative_entropy - crossed).mean()
        loss = loss + self.weight * spread - self.entropy_weight * negative_entropy.mean()
        return loss, self.copies.by_row(logits)[:, 0].detach()


def mean_log_probability(log_p: Tensor) -> Tensor:
    """``log (1/m) Σ_i p_i``, ``[N, K]``, from ``log p`` of m copies ``[N, m, K]``."""
    return log_p.logsumexp(1) - math.log(log_p.shape[1])


CONSISTENCY = ObjectiveEntry(
    "consistency",
    "that under noise_sigma, and consistency_weight times how far the answers to noise_draws "
    "copies are apart, and entropy_weight times the entropy of their mean",
    lambda settings: Consistency(
        settings.copies, settings.consistency_weight, settings.entropy_weight
    ),
    (*OF_NOISE, "consistency_weight", "entropy_weight"),
)
