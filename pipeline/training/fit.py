"""One network under AdamW: what is the same whatever its loss, and the state that a run carries."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, distributed, nn

from pipeline.errors import UserError
from pipeline.training.averaging import Averaging
from pipeline.training.rate import learning_rate
from pipeline.training.state import flat_state, load_flat_state, with_prefix

_DIVERGED = "the last good checkpoint is kept: lower learning_rate and train into another directory"


@dataclass(frozen=True)
class FitRecipe:
    """How a network is fitted.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: the peak of the schedule (a linear rise over the first tenth of the steps,
            a half cosine down to nothing after it).
        weight_decay: decoupled, of the matrices and kernels only (AdamW).
        max_shift: pictures are moved by up to this many pixels along both axes, at random.
        seed: of the shifts, and of what the loss draws.
        averaging: of the weights; None for none.
    """

    steps: int
    learning_rate: float
    weight_decay: float
    max_shift: int
    seed: int
    averaging: Averaging | None = None

    def learning_rate_at(self, step: int) -> float:
        """The rate of step ``step``, counted from 0."""
        rise = max(1, self.steps // 10)
        return learning_rate(step, self.learning_rate, warmup_steps=rise, num_steps=self.steps)


@dataclass(frozen=True)
class Outcomes:
    """What some steps in a row came to.

    Attributes:
        num_steps: how many they were.
        loss: their mean loss in nats.
        accuracy: the share of right answers, 0 to 1.
    """

    num_steps: int
    loss: float
    accuracy: float


class Fit(ABC):
    """A network, its optimiser and its schedule, advanced by the loss of one batch at a time.

    The base of the trainers, each of which says what its loss is.

    Args:
        network: trained in place.
        recipe: how to train.
        world: the number of workers.

    Attributes:
        step: the number of steps taken.
    """

    def __init__(self, network: nn.Module, recipe: FitRecipe, *, world: int = 1) -> None:
        self.step = 0
        self._outcomes: list[Tensor] = []  # of the steps that nobody has looked at
        self._network = network
        self._recipe = recipe
        self._world = world
        kernels = [p for p in network.parameters() if p.ndim > 1]
        vectors = [p for p in network.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": kernels, "weight_decay": recipe.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
        )
        self._average: dict[str, Tensor] = {}
        if recipe.averaging is not None:
            self._average = {n: p.detach().clone() for n, p in network.named_parameters()}

    @property
    def _device(self) -> torch.device:
        return next(self._network.parameters()).device

    @abstractmethod
    def update(self, images: np.ndarray, targets: np.ndarray) -> None:
        """One step on this worker's rows of a batch, uint8 ``[N, H, W, C]`` and ``[N, …]``.

        Does not wait for the device: `outcomes` reads the losses of many steps at once.
        """

    def _descend(self, loss: Tensor, right: Tensor) -> None:
        """One step down a loss of this worker's rows; ``right``: the share of right answers."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate_at(self.step)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._share_gradients()
        self.optimizer.step()
        if self._recipe.averaging is not None:
            self._recipe.averaging.update(self._average, self._network, self.step)
        self._outcomes.append(torch.stack((loss.detach(), right)))
        self.step += 1

    def _share_gradients(self) -> None:
        """What a trainer does whose network is not wrapped in what shares the gradients."""
        return

    def outcomes(self) -> Outcomes:
        """Of the steps since the last call, over all workers: the same on all of them.

        The accuracy is that on the pictures that were trained on: on perturbed ones, if the
        objective is adversarial.

        Raises:
            UserError: a loss is not finite; on all workers at once.
        """
        mean = torch.stack(self._outcomes)
        if self._world > 1:
            distributed.all_reduce(mean)
            mean = mean / self._world
        self._outcomes = []
        losses: list[float] = mean[:, 0].tolist()
        for number, loss in enumerate(losses, self.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise UserError(f"the loss is {loss} at step {number}; {_DIVERGED}")
        return Outcomes(len(losses), sum(losses) / len(losses), float(mean[:, 1].mean()))

    def check_weights(self) -> None:
        """Raises UserError when a weight is not a finite number."""
        if not all(bool(torch.isfinite(p).all()) for p in self._network.parameters()):
            raise UserError(f"the weights are not finite after step {self.step}; {_DIVERGED}")

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint holds beside `step`; see `flat_state`."""
        return flat_state(self._network, self._average, self.optimizer)

    def load_state(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Goes on from `state` after ``step`` steps.

        Raises:
            UserError: the state is another network's.
        """
        try:
            load_flat_state(self._network, self._average, self.optimizer, tensors)
        except (RuntimeError, KeyError):
            raise UserError(
                "the checkpoint is of another network; delete it, or train into another directory"
            ) from None
        self.step = step


def published_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a `Fit.state` to publish: their average, if there is one."""
    return with_prefix(tensors, "ema.") or with_prefix(tensors, "weights.")
