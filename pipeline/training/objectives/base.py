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
        """The loss of one step, and the logits whose right answers are counted.

        Args:
            network: for forward passes and gradients by pictures; these leave no gradient at the
                weights.
            parallel: the same network in its data-parallel wrapper, if it has one. It must be
                called exactly once: the gradients of that call are averaged over the workers.
            rows: the pictures, labels and draws.

        Returns:
            The mean loss over the rows, a scalar to differentiate, and the logits ``[N, K]`` of the
            pictures that it was computed on, without a gradient.
        """
        ...
