"""One optimiser step of the stack, and the state that a run carries from step to step. No Ray."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, distributed, nn

from pipeline.errors import UserError
from pipeline.stack import Stack, averaged_stack
from pipeline.training.averaging import Averaging
from pipeline.training.draws import RowDraws, choose_evenly, share_of_batch
from pipeline.training.loss import stage_loss
from pipeline.training.rate import learning_rate
from pipeline.training.state import flat_state, load_flat_state
from pipeline.training.weighting import Weighting


@dataclass(frozen=True)
class Recipe:
    """How a stack is trained.

    Attributes:
        num_steps: optimiser steps of the whole run.
        batch_size: pictures a step, over all workers.
        stage_share: the share of a batch that each stage trains on, coarsest first, in (0, 1].
        learning_rate: Adam's, at its peak.
        warmup_steps: steps of linear rise; a cosine then falls to 0.
        ema_halflife: half-life of the weights' moving average, in pictures.
        drop_condition: probability with which a condition is made null.
        gradient_clip: largest norm of the gradient.
        weighting: the noise levels' density and weight.
        seed: keys every draw.
        parts: a worker splits its rows of a batch into this many parts, to need less memory.
        bf16: whether the network computes in bfloat16; weights and losses stay in float32.
    """

    num_steps: int
    batch_size: int
    stage_share: tuple[float, ...]
    learning_rate: float
    warmup_steps: int
    ema_halflife: float
    drop_condition: float
    gradient_clip: float
    weighting: Weighting
    seed: int
    parts: int = 1
    bf16: bool = False

    def learning_rate_at(self, step: int) -> float:
        """The rate of step ``step``, counted from 0."""
        return learning_rate(
            step, self.learning_rate, warmup_steps=self.warmup_steps, num_steps=self.num_steps
        )

    @property
    def averaging(self) -> Averaging:
        """The weights' moving average."""
        return Averaging(self.ema_halflife, self.batch_size)


class StackTrainer:
    """The stack, its moving average and its optimiser.

    A step's effect on the weights does not depend on how many workers share the batch, nor on the
    number of parts, except for the order in which floating-point numbers are added.

    Args:
        stack: trained in place, in all of the stages that it holds.
        recipe: how to train.
        parallel: the stack itself, or its data-parallel wrapper, which averages the gradients over
            the workers.
        rank, world: this worker's number, and the number of workers.
    """

    def __init__(
        self,
        stack: Stack,
        recipe: Recipe,
        *,
        parallel: nn.Module | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.stack = stack
        self.recipe = recipe
        self.parallel = parallel or stack
        self.world = world
        self.rows = share_of_batch(recipe.batch_size, rank, world)
        self.step = 0
        self.optimizer = torch.optim.AdamW(
            stack.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self.ema = {name: p.detach().clone() for name, p in stack.named_parameters()}

    def update(self, x: Tensor, condition: Tensor | None) -> tuple[float, ...]:
        """One optimiser step on this worker's rows of the batch.

        All of the stack's stages are trained in each step, and their losses are added.

        Args:
            x: pictures in [-1, 1], ``[N, C, H, W]``; N is the length of `rows`.
            condition: of these pictures, see `Condition`; None is null for all rows.

        Returns:
            The loss of each stage over all workers, coarsest first.

        Raises:
            UserError: the loss or its gradient is not finite; the step is not taken.
        """
        recipe = self.recipe
        if len(x) != len(self.rows):
            raise ValueError(f"{len(x)} pictures for rows {self.rows} of the batch")
        self.stack.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(len(self.stack.stages), device=x.device)
        for part in range(recipe.parts):
            own = share_of_batch(len(x), part, recipe.parts)
            with self._gradients_stay_here() if part + 1 < recipe.parts else nullcontext():
                losses = torch.stack(self._losses(x, condition, own))
                torch.autograd.backward(losses.sum() * self.world)
            total += losses.detach()
        values = tuple(float(v) for v in _sum_over_workers(total))
        self._require_finite("loss", values)
        norm = nn.utils.clip_grad_norm_(self.stack.parameters(), recipe.gradient_clip)
        self._require_finite("gradient", (float(norm),))
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(self.step)
        self.optimizer.step()
        self.recipe.averaging.update(self.ema, self.stack, self.step)
        self.step += 1
        return values

    def _gradients_stay_here(self) -> AbstractContextManager[None]:
        """For all parts of a batch but the last: the workers exchange their sums once a step."""
        parallel = self.parallel
        if isinstance(parallel, nn.parallel.DistributedDataParallel):
            return cast(AbstractContextManager[None], parallel.no_sync())
        return nullcontext()

    def _losses(self, x: Tensor, condition: Tensor | None, part: range) -> list[Tensor]:
        """This part's share of each stage's loss; ``part`` counts within this worker's rows."""
        recipe, first = self.recipe, self.rows.start
        rows = range(first + part.start, first + part.stop)
        losses = []
        for stage in self.stack.stages:
            chosen, numbers, total = choose_evenly(
                recipe.stage_share[stage], rows, recipe.batch_size
            )
            weight = 1.0
            if not chosen:
                # Workers wait for each other's gradients: a share of nothing gives one of zero.
                chosen, numbers, weight = [0], range(1), 0.0
            own = [part.start + row for row in chosen]
            key = (recipe.seed, self.step, stage)
            losses.append(
                weight
                * stage_loss(
                    self._denoise,
                    self.stack.spec,
                    stage,
                    x[own],
                    None if condition is None else condition[own],
                    recipe.weighting,
                    RowDraws(key, numbers, total, x.device),
                    drop_condition=recipe.drop_condition,
                )
            )
        return losses

    def _denoise(
        self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None, *dropout_mask: Tensor
    ) -> Tensor:
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            x_hat: Tensor = self.parallel(stage, z, sigma, condition, *dropout_mask)
        return x_hat.float()

    def _require_finite(self, what: str, values: tuple[float, ...]) -> None:
        if not all(math.isfinite(v) for v in values):
            raise UserError(
                f"the {what} is not finite at step {self.step} "
                f"({', '.join(f'{v:.4g}' for v in values)}); the last good checkpoint is kept: "
                "lower learning_rate, or look for broken pictures"
            )

    def averaged(self) -> Stack:
        """A stack with the averaged weights, for sampling."""
        return averaged_stack(self.stack, self.ema)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint holds beside `step`; see `flat_state`."""
        return flat_state(self.stack, self.ema, self.optimizer)

    def load_state(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Goes on from `state` after ``step`` steps."""
        load_flat_state(self.stack, self.ema, self.optimizer, tensors)
        self.step = step


def _sum_over_workers(values: Tensor) -> Tensor:
    """So that all workers find a loss not finite, or none: the rest would wait for it for ever."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values)
    return values
