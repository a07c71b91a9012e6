"""Gaussian augmentation: the classifier learns to answer under the noise that smooths it."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.training.objectives.base import StepRows
from pipeline.training.objectives.entry import OF_NOISE, ObjectiveEntry
from pipeline.training.objectives.noisy import NoisyCopies


@dataclass(frozen=True)
class GaussianAugmentation:
    """``E[-log p(y | x + σ ε)]`` in nats, the mean over the copies.

    Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing", 2019
    (arXiv 1902.02918), section 3.3.
    """

    copies: NoisyCopies

    def __call__(
        self, network: nn.Module, parallel: nn.Module, rows: StepRows
    ) -> tuple[Tensor, Tensor]:
        """See `Objective`; the logits are the first copy's."""
        logits = parallel(self.copies.pictures(rows.x, self.copies.noise(rows)))
        loss = F.cross_entropy(logits, rows.y.repeat_interleave(self.copies.num))
        return loss, self.copies.by_row(logits)[:, 0].detach()


GAUSSIAN = ObjectiveEntry(
    "gaussian",
    "that under noise_sigma",
    lambda settings: GaussianAugmentation(settings.copies),
    OF_NOISE,
)
