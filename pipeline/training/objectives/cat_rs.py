"""CAT-RS: a picture that is right under noise must withstand more, one that is not, learn first."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.training.objectives.ascent_l2 import AscentL2
from pipeline.training.objectives.base import StepRows
from pipeline.training.objectives.consistency import mean_log_probability
from pipeline.training.objectives.entry import OF_ASCENT_L2, OF_NOISE, ObjectiveEntry
from pipeline.training.objectives.noisy import NoisyCopies
from pipeline.training.objectives.trades import divergence


@dataclass(frozen=True)
class CatRs:
    """``(1/m) Σ_{the K least} -log p(y | x + σ ε_i) + λ 1[K = m] max_i max KL(ŷ ‖ p(· | x'_i))``.

    In nats. ``K ~ max(1, Binomial(m, q))``, q the share of the m copies that are answered rightly;
    ``‖x'_i - (x + σ ε_i)‖₂ <= ε``. Jeong, Kim and Shin, "Confidence-aware training of smoothed
    classifiers for certified robustness", 2022 (arXiv 2212.09000), equations 6 to 9. Two
    differences: ŷ, for which they take a finished Gaussian-trained classifier's smoothed answer, is
    here the mean answer of the weights of the moment to the same copies, without a gradient; and
    the changed noise keeps its own mean and length as they come. So one run is enough.

    Attributes:
        copies: m of each picture; the authors take 4.
        ascent: finds x'; the authors take ε = 1 and 4 steps.
        weight: λ; the authors take 0.5 to 4.
    """

    copies: NoisyCopies
    ascent: AscentL2
    weight: float

    def __call__(
        self, network: nn.Module, parallel: nn.Module, rows: StepRows
    ) -> tuple[Tensor, Tensor]:
        """See `Objective`; the logits are the first copy's."""
        num = self.copies.num
        noisy = self.copies.pictures(rows.x, self.copies.noise(rows))
        with torch.no_grad():
            before = self.copies.by_row(network(noisy))
        sure = (before.argmax(2) == rows.y[:, None]).float().mean(1)
        kept = (rows.draws.uniform(num) < sure[:, None]).sum(1).clamp_min(1)  # K
        firm = (kept == num).nonzero()[:, 0]
        target = mean_log_probability(F.log_softmax(before[firm], dim=2))
        target = target.repeat_interleave(num, dim=0)
        centre = noisy.unflatten(0, (-1, num))[firm].flatten(0, 1)
        worse = self.ascent(
            lambda point: divergence(target, network(point)).sum(), centre, rows.step, boxed=False
        )
        logits, far = parallel(torch.cat((noisy, worse))).split((len(noisy), len(worse)))
        losses = F.cross_entropy(logits, rows.y.repeat_interleave(num), reduction="none")
        least = losses.unflatten(0, (-1, num)).sort(dim=1).values
        low = (least * (torch.arange(num, device=least.device) < kept[:, None])).sum(1) / num
        high = divergence(target, far).unflatten(0, (-1, num)).amax(1)
        loss = low.mean() + self.weight * high.sum() / len(rows.y)
        return loss, self.copies.by_row(logits)[:, 0].detach()


CAT_RS = ObjectiveEntry(
    "cat_rs",
    "that of the noise_draws copies which the answers can bear, and where they can bear all, "
    "worst_weight times how far the worst changes within eps_l2",
    lambda settings: CatRs(settings.copies, settings.ascent, settings.worst_weight),
    (*OF_NOISE, *OF_ASCENT_L2, "worst_weight"),
)
