"""SmoothAdv: adversarial training of the smoothed classifier, and not of the one below it."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.training.objectives.ascent_l2 import AscentL2
from pipeline.training.objectives.base import StepRows
from pipeline.training.objectives.consistency import mean_log_probability
from pipeline.training.objectives.entry import OF_ASCENT_L2, OF_NOISE, ObjectiveEntry
from pipeline.training.objectives.noisy import NoisyCopies


@dataclass(frozen=True)
class SmoothAdv:
    """``E[-log p(y | x' + σ ε)]`` in nats, x' where the smoothed soft classifier does worst.

    ``x' = argmax_{‖x' - x‖₂ <= ε} -log E[p(y | x' + σ ε)]``: the logarithm of the mean, whose
    gradient is not the mean of the logarithms' gradients. Salman, Yang, Li, Zhang, Zhang,
    Razenshteyn and Bubeck, "Provably robust deep learning via adversarially trained smoothed
    classifiers", 2019 (arXiv 1906.04584), equations 7 and 8. Both means are over the same m copies.
    """

    copies: NoisyCopies
    ascent: AscentL2

    def __call__(
        self, network: nn.Module, parallel: nn.Module, rows: StepRows
    ) -> tuple[Tensor, Tensor]:
        """See `Objective`; the logits are the first copy's of the worse picture."""
        noise = self.copies.noise(rows)

        def smoothed_loss(x: Tensor) -> Tensor:
            logits = self.copies.by_row(network(self.copies.pictures(x, noise)))
            log_mean = mean_log_probability(F.log_softmax(logits, dim=2))
            return F.nll_loss(log_mean, rows.y, reduction="sum")

        worse = self.ascent(smoothed_loss, rows.x, rows.step, boxed=True)
        logits = parallel(self.copies.pictures(worse, noise))
        loss = F.cross_entropy(logits, rows.y.repeat_interleave(self.copies.num))
        return loss, self.copies.by_row(logits)[:, 0].detach()


SMOOTHADV = ObjectiveEntry(
    "smoothadv",
    "that under noise_sigma of the picture within eps_l2 on which the mean answer to noise_draws "
    "copies is worst",
    lambda settings: SmoothAdv(settings.copies, settings.ascent),
    (*OF_NOISE, *OF_ASCENT_L2),
)
