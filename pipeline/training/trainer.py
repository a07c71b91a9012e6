"""One optimiser step of the stack, and the state that a run carries from step to step. No Ray."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, distributed, nn

from pipeline.errors import UserError
from pipeline.stack import Stack
from pipeline.training.loss import stage_loss
from pipeline.training.weighting import Weighting


@dataclass(frozen=True)
class Recipe:
    """How a stack is trained.

    Attributes:
        num_steps: optimiser steps of the whole run.
        batch_size: pictures a step, over all workers.
        stage_share: the part of a batch that each stage trains on, coarsest first, in (0, 1].
        learning_rate: Adam's, at its peak.
        warmup_steps: steps of linear rise; a cosine then falls to 0.
        ema_halflife: half-life of the weights' moving average, in pictures.
        drop_condition: probability with which a condition is made null.
        gradient_clip: largest norm of the gradient.
        weighting: the noise levels' density and weight.
        seed: keys every draw.
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

    def learning_rate_at(self, step: int) -> float:
        """The rate of step ``step``, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        span = max(1, self.num_steps - self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / span)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def ema_decay_at(self, step: int) -> float:
        """The moving average's decay; the half-life grows with what was seen (EDM's ramp-up)."""
        seen = (step + 1) * self.batch_size
        return float(0.5 ** (self.batch_size / max(1e-8, min(self.ema_halflife, 0.05 * seen))))


class StackTrainer:
    """The stack, its moving average and its optimiser.

    Args:
        stack: trained in place.
        parallel: what the loss calls: the stack itself, or its data-parallel wrapper.
        rank: this worker's number; keys its noise.
    """

    def __init__(
        self, stack: Stack, recipe: Recipe, *, parallel: nn.Module | None = None, rank: int = 0
    ) -> None:
        self.stack = stack
        self.recipe = recipe
        self.parallel = parallel or stack
        self.rank = rank
        self.step = 0
        self.optimizer = torch.optim.AdamW(
            stack.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self.ema = {name: p.detach().clone() for name, p in stack.named_parameters()}

    def update(self, x: Tensor, condition: Tensor | None) -> tuple[float, ...]:
        """One optimiser step on this worker's part of the batch.

        All stages take part in each step: their losses add up, and every weight gets a gradient.

        Args:
            x: pictures in [-1, 1], ``[N, C, H, W]``.

        Returns:
            The loss of each stage over all workers, coarsest first.

        Raises:
            UserError: the loss or its gradient is not finite; the step is not taken.
        """
        recipe = self.recipe
        self.stack.train()
        key, dropout_key = _step_keys(recipe.seed, self.step, self.rank)
        generator = torch.Generator(x.device).manual_seed(key)
        with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
            # dropout draws from the global generator: a resumed run must drop the same features
            torch.manual_seed(dropout_key)
            total = torch.stack(self._losses(x, condition, generator))
        values = tuple(float(v) for v in _mean_over_workers(total.detach().clone()))
        self._require_finite("loss", values)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total.sum())
        norm = nn.utils.clip_grad_norm_(self.stack.parameters(), recipe.gradient_clip)
        self._require_finite("gradient", (float(norm),))
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(self.step)
        self.optimizer.step()
        self._average()
        self.step += 1
        return values

    def _losses(
        self, x: Tensor, condition: Tensor | None, generator: torch.Generator
    ) -> list[Tensor]:
        recipe = self.recipe
        losses = []
        for stage, share in enumerate(recipe.stage_share):
            rows = slice(0, max(1, round(share * len(x))))
            losses.append(
                stage_loss(
                    self.parallel,
                    self.stack.spec,
                    stage,
                    x[rows],
                    None if condition is None else condition[rows],
                    recipe.weighting,
                    generator,
                    drop_condition=recipe.drop_condition,
                )
            )
        return losses

    def _require_finite(self, what: str, values: tuple[float, ...]) -> None:
        if not all(math.isfinite(v) for v in values):
            raise UserError(
                f"the {what} is not finite at step {self.step} "
                f"({', '.join(f'{v:.4g}' for v in values)}); the last good checkpoint is kept: "
                "lower learning_rate, or look for broken pictures"
            )

    @torch.no_grad()
    def _average(self) -> None:
        weight = 1 - self.recipe.ema_decay_at(self.step)
        torch._foreach_lerp_(
            list(self.ema.values()), [p.detach() for p in self.stack.parameters()], weight
        )

    def averaged(self) -> Stack:
        """A stack with the averaged weights, for sampling."""
        stack = Stack(self.stack.spec).to(self.stack.device)
        stack.load_state_dict(averaged_state(self.stack, self.ema))
        return stack.eval()

    def state(self) -> dict[str, Tensor]:
        """Weights, averages and optimiser state, flat: what a checkpoint holds beside `step`."""
        tensors = {f"weights.{k}": v for k, v in self.stack.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        for name, parameter in self.stack.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"adam.{key}.{name}"] = torch.as_tensor(value)
        return {k: v.detach().contiguous() for k, v in tensors.items()}

    def load_state(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Goes on from `state` after ``step`` steps."""
        weights = _with_prefix(tensors, "weights.")
        self.stack.load_state_dict(weights)
        for name, value in _with_prefix(tensors, "ema.").items():
            self.ema[name].copy_(value)
        for name, parameter in self.stack.named_parameters():
            self.optimizer.state[parameter] = {
                key: tensors[f"adam.{key}.{name}"]
                .clone()
                .to("cpu" if key == "step" else parameter.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"adam.{key}.{name}" in tensors
            }
        self.step = step


def _step_keys(seed: int, step: int, rank: int) -> tuple[int, int]:
    """64 bits each for a worker's draws in a step and for its dropout; any seed will do."""
    sequence = np.random.SeedSequence((seed % 2**64, step, rank))
    first, second = sequence.generate_state(2, np.uint64)
    return int(first), int(second)


def _mean_over_workers(values: Tensor) -> Tensor:
    """So that all workers find a loss not finite, or none: the rest would wait for it for ever."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values)
        values /= distributed.get_world_size()
    return values


def averaged_state(stack: Stack, ema: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The stack's state with its parameters replaced by their averages."""
    return {**stack.state_dict(), **ema}


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
