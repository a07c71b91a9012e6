"""The moving average of a network's weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Averaging:
    """An exponential moving average whose half-life grows with the pictures seen (EDM's ramp-up).

    Attributes:
        halflife: in pictures.
        batch_size: pictures a step, over all workers.
    """

    halflife: float
    batch_size: int

    def decay(self, step: int) -> float:
        """The weight of the old average in step ``step`` (from 0), in [0, 1)."""
        seen = (step + 1) * self.batch_size
        return float(0.5 ** (self.batch_size / max(1e-8, min(self.halflife, 0.05 * seen))))

    @torch.no_grad()
    def update(self, average: Mapping[str, Tensor], network: nn.Module, step: int) -> None:
        """Moves the average, in place, towards the weights after step ``step``.

        Args:
            average: of the network's `named_parameters`, in their order.
            network: whose weights are averaged.
            step: counted from 0.
        """
        torch._foreach_lerp_(
            list(average.values()),
            [p.detach() for p in network.parameters()],
            1 - self.decay(step),
        )
