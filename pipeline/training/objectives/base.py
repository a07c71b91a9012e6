"""What an objective is."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from pipeline.training.draws import RowDraws


@dataclass(frozen=True)
class StepRows:
    """A worker's rows of one optimiser step, N of them.

    Attributes:
        x: float32 ``[N, C, H, W]`` in [0, 1].
        y: int64 ``[N]``, the labels.
        step: the step's number, from 0.
        draws: for these rows; the only source of randomness.
    """

    x: Tensor
    y: Tensor
    step: int
    draws: RowDraws


class Objective(Protocol):
    """A loss of a network's weights on some rows."""

    def __call__(
        self, network: nn.Module, parallel: nn.Module, rows: StepRows
    ) -> tuple[Tensor, Tensor]:
        """The mean loss over the rows, which is followed by its gradient, and the logits ``[N, K]``
        of the pictures that it was trained on, whose right answers are counted.

        Args:
            network: to be asked about pictures; gradients by them fill none of the weights.
            parallel: the same one in its data-parallel wrapper, if it has one. It must be called
                exactly once: the gradients of that call are averaged over the workers.
        """
        ...
