"""Auto-PGD in L1.

Croce and Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers", 2021
(arXiv 2103.01208), section 4 (with one radius; `ShrinkingApgdL1` has three).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.base import Norm, Queries, Rows, State, Stepped, per_row
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.geometry.projection import onto_ball
from pipeline.attacks.methods.apgd import Apgd
from pipeline.errors import UserError

_FIRST_SHARE = 0.2  # of the values move in a step, until the first look
_PERIOD = 0.04  # of the steps between two looks
SPARSER = 1.5  # a step moves this many times fewer values than the best change has
_SETTLED = 0.95  # of the values that it had: with more, the change has not become sparser
_SHORTER = 1.5  # then the step is divided by this,
_SHORTEST = 0.1  # but is at least this share of the radius


@dataclass(frozen=True)
class ApgdL1(Apgd):
    """PGD in L1 whose step moves the few steepest values, ever fewer as the best change is sparse.

    Points are projected to the ball and the box at once (see `onto_ball`). There is no momentum.
    Every 4 % of the steps a row is looked at: a step then moves ``l0 / 1.5`` values, where l0 is
    how many the best point so far has changed. If that is less than 95 % of what it was, the row
    goes on from the best point with a step as long as the radius; else the step gets shorter.

    Attributes:
        ball: L1.
        steps, loss, restarts: see `Apgd`.
    """

    def __post_init__(self) -> None:
        if self.ball.norm is not Norm.L1:
            raise UserError(f"apgd_l1 is for the norm l1, not {self.ball.norm.value}")

    def begin(self, rows: Rows) -> State:
        """A random point of the ball, and steps as long as its radius."""
        self._check_classes(rows)
        ball = self.first_ball
        point = ball.random_point(rows, 0)
        nothing = rows.clean.new_zeros(len(rows.label))
        size = rows.clean[0].numel() if len(rows.label) else 1
        return {
            "point": point,
            "step_size": nothing + ball.eps,
            "moved": nothing + _FIRST_SHARE * size,
            "changed_then": nothing + size,
            "best_loss": nothing - torch.inf,
            "best_point": point,
            "best_gradient": torch.zeros_like(point),
            "target": rows.aim,
        }

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """One step of each row, and for those at a look a new number of values to move."""
        s = dict(state)
        here, record = self.to_ask(rows, s["point"])
        loss, gradient = self._asked(rows, s, here, queries, record)
        better = loss > s["best_loss"]
        s["best_loss"] = loss.where(better, s["best_loss"])
        s["best_point"] = s["point"].where(per_row(better), s["best_point"])
        s["best_gradient"] = gradient.where(per_row(better), s["best_gradient"])
        since, length, radius = self.stage(rows)
        look = (since > 0) & (since % (_PERIOD * length.double()).long().clamp_min(1) == 0)
        gradient = self._sparser(rows, s, gradient, look, radius)
        gradient = self.ball.movable(gradient, s["point"])
        ahead = s["point"] + per_row(s["step_size"]) * steepest(gradient, s["moved"])
        s["point"] = rows.clean + onto_ball(ahead - rows.clean, radius, Norm.L1, rows.clean)
        return Stepped(s)

    @property
    def first_ball(self) -> Ball:
        """The one in which a row begins."""
        return self.ball

    def stage(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Each row's steps in its present ball, how many it has there, and the ball's radius.

        int64 ``[N]``, int64 ``[N]`` and ``[N]``.
        """
        radius = rows.clean.new_full(rows.step.shape, self.ball.eps)
        return rows.step, torch.full_like(rows.step, self.steps), radius

    def to_ask(self, rows: Rows, point: Tensor) -> tuple[Tensor, bool | Tensor]:
        """The pictures to ask about near ``[N, C, H, W]``, and whether they can be a result."""
        return self.ball.snap(point, rows.clean), True

    def _sparser(
        self, rows: Rows, s: State, gradient: Tensor, look: Tensor, radius: Tensor
    ) -> Tensor:
        """Changes the rows that are looked at, and returns the gradient to go on with."""
        changed = num_changed(s["best_point"], rows.clean)
        sparser = look & (changed < _SETTLED * s["changed_then"])
        settled = look & ~sparser
        shorter = torch.maximum(s["step_size"] / _SHORTER, _SHORTEST * radius)
        s["step_size"] = shorter.where(settled, s["step_size"])
        s["step_size"] = radius.where(sparser, s["step_size"])
        s["moved"] = (changed / SPARSER).where(look, s["moved"])
        s["changed_then"] = changed.where(look, s["changed_then"])
        s["point"] = s["best_point"].where(per_row(sparser), s["point"])
        return s["best_gradient"].where(per_row(sparser), gradient)


def num_changed(point: Tensor, clean: Tensor) -> Tensor:
    """How many values of each row differ from the clean picture, ``[N]`` of the point's type."""
    return (point != clean).flatten(1).sum(dim=1).to(point.dtype)


def steepest(gradient: Tensor, moved: Tensor) -> Tensor:
    """The signs of each row's steepest values, sharing an L1 norm of 1 evenly, ``[N, C, H, W]``.

    Args:
        gradient: ``[N, C, H, W]``; of a row of zeros nothing moves.
        moved: ``[N]``: how many values, rounded down, at least one. Those of equal slope that do
            not all fit go by their place.
    """
    flat = gradient.flatten(1)
    order = flat.abs().argsort(dim=1, descending=True, stable=True)
    number = torch.arange(flat.shape[1], device=flat.device)
    chosen = torch.zeros_like(flat).scatter(
        1, order, (number < moved.floor().clamp_min(1.0)[:, None]).to(flat.dtype)
    )
    direction = flat.sign() * chosen
    count = (direction != 0).sum(dim=1, keepdim=True).clamp_min(1)
    return (direction / count).reshape(gradient.shape)
