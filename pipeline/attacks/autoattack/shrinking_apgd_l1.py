"""Auto-PGD in L1 that comes in from larger balls.

The version with several radii of Croce and Hein, "Mind the box: l1-APGD for sparse adversarial
attacks on image classifiers", 2021 (arXiv 2103.01208).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pipeline.attacks.base import Norm, Queries, Rows, State, Stepped, per_row
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.geometry.projection import onto_ball
from pipeline.attacks.methods.apgd_l1 import SPARSER, ApgdL1, num_changed

_RADII = (3, 2, 1)  # of the ball's
_SHARE = 0.3  # of the steps in each of the balls but the last


@dataclass(frozen=True)
class ShrinkingApgdL1(ApgdL1):
    """`ApgdL1` in shrinking balls.

    30 % of the steps are in the ball of three times the radius, 30 % in that of twice the radius,
    and the rest in the ball itself.

    In each ball it begins anew, at the nearest point of that ball to the best one of the ball
    before. In L1 steps are sparse, and from further away they find values that a change within
    the ball would not come by. Of the questions only those in the last ball can be a result.

    Attributes:
        ball: L1.
        steps, loss, restarts: see `Apgd`.
    """

    @property
    def first_ball(self) -> Ball:
        """The largest one."""
        return self._balls[0]

    @cached_property
    def _balls(self) -> tuple[Ball, ...]:
        return tuple(Ball(Norm.L1, factor * self.ball.levels) for factor in _RADII)

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        """The step at which each ball is come into; the look after the last step is in the last."""
        each = math.ceil(_SHARE * self.steps)
        return tuple(min(number * each, self.steps) for number in range(len(_RADII)))

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """One step, and for rows that come into a ball first a new beginning there."""
        since, _, radius = self.stage(rows)
        anew = (since == 0) & (rows.step > 0)
        if bool(anew.any()):
            state = {**state, **self._begun_anew(rows, state, anew, radius)}
        return super().step(rows, state, queries)

    def stage(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """As in `ApgdL1`."""
        number = self._number(rows)
        starts = torch.tensor(self._starts, device=number.device)
        lengths = torch.tensor((*self._starts[1:], self.steps), device=number.device) - starts
        eps = torch.tensor([ball.eps for ball in self._balls], device=number.device)
        return rows.step - starts[number], lengths[number], eps[number].to(rows.clean.dtype)

    def to_ask(self, rows: Rows, point: Tensor) -> tuple[Tensor, bool | Tensor]:
        """As in `ApgdL1`."""
        number = self._number(rows)
        snapped = torch.empty_like(point)
        for this, ball in enumerate(self._balls):
            at = (number == this).nonzero().flatten()
            if len(at):
                snapped[at] = ball.snap(point[at], rows.clean[at])
        return snapped, number == len(_RADII) - 1

    def _number(self, rows: Rows) -> Tensor:
        """Which ball each row is in, int64 ``[N]``."""
        later = torch.tensor(self._starts[1:], device=rows.step.device)
        return torch.searchsorted(later, rows.step, right=True)

    def _begun_anew(self, rows: Rows, state: State, anew: Tensor, radius: Tensor) -> State:
        best = state["best_point"] - rows.clean
        point = rows.clean + onto_ball(best, radius, Norm.L1, rows.clean)
        changed = num_changed(point, rows.clean)
        fresh = {
            "step_size": radius,
            "moved": changed / SPARSER,
            "changed_then": changed,
            "best_loss": torch.full_like(changed, -torch.inf),
        }
        begun = {name: value.where(anew, state[name]) for name, value in fresh.items()}
        return {**begun, "point": point.where(per_row(anew), state["point"])}
