"""Auto-PGD, which finds its own step size.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", 2020 (arXiv 2003.01690), algorithm 1 and section 3.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from pipeline.attacks import losses
from pipeline.attacks.base import GradientSteps, Norm, Queries, Rows, State, Stepped, per_row
from pipeline.attacks.geometry.ball import Ball
from pipeline.errors import UserError

_MOMENTUM = 0.75  # α of the source: the part of a step that is not momentum
_RISING = 0.75  # ρ: the step is halved unless this part of the steps since the last look rose


@dataclass(frozen=True)
class Apgd(GradientSteps):
    """PGD with momentum whose step is halved, from the best point so far, when progress stalls.

    Attributes:
        ball: L∞ or L2.
        steps: gradient steps.
        loss: ce, the cross-entropy (by the log odds, which rise with it); dlr, the difference of
            logits ratio; targeted, the same for a given wrong class: restart i aims at the i-th
            most likely one.
        restarts: how often a row begins, each time at a random point; of targeted, the classes
            aimed at.
    """

    ball: Ball
    steps: int = 100
    loss: Literal["ce", "dlr", "targeted"] = "ce"
    restarts: int = 1
    smallest: None = None

    def __post_init__(self) -> None:
        if self.ball.norm is Norm.L1:
            raise UserError("apgd has no step for the norm l1; use pgd there")

    def for_classes(self, classes: int) -> "Apgd":
        """With one restart for each wrong class at most, where restarts aim at these.

        The targeted ratio of logits needs four classes: with three, the ratio without a target
        stands for it, and with two the cross-entropy, which is then a function of the one
        difference of logits.
        """
        if self.loss != "targeted":
            return self
        if classes < 4:
            return replace(self, loss="dlr" if classes == 3 else "ce", restarts=1)
        return replace(self, restarts=min(self.restarts, classes - 1))

    def begin(self, rows: Rows) -> State:
        """A random point of the ball, and steps of 2 ε."""
        self._check_classes(rows)
        point = self.ball.random_point(rows, 0)
        nothing = rows.clean.new_zeros(len(rows.label))
        return {
            "point": point,
            "previous": point,
            "step_size": nothing + 2 * self.ball.eps,
            "last_loss": nothing,
            "best_loss": nothing,
            "best_point": point,
            "best_gradient": torch.zeros_like(point),
            "rises": nothing,
            "best_loss_at_look": nothing,
            "halved_at_look": nothing > 0,
            "target": rows.aim,
        }

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """One step of each row, and for those at a checkpoint a look at how it goes."""
        s = dict(state)
        here = self.ball.snap(s["point"], rows.clean)
        loss, gradient = self._asked(rows, s, here, queries)
        first = rows.step == 0
        s["rises"] = s["rises"] + ((loss > s["last_loss"]) & ~first)
        better = first | (loss > s["best_loss"])
        s["last_loss"], s["best_loss"] = loss, loss.where(better, s["best_loss"])
        s["best_point"] = s["point"].where(per_row(better), s["best_point"])
        s["best_gradient"] = gradient.where(per_row(better), s["best_gradient"])
        s["best_loss_at_look"] = s["best_loss"].where(first, s["best_loss_at_look"])
        gradient = self._look(rows, s, gradient)
        # The momentum's last step; there is none before the first.
        drift = s["point"] - s["previous"]
        a = torch.ones_like(loss).where(first, torch.full_like(loss, _MOMENTUM))
        moved = s["point"] + per_row(s["step_size"]) * self.ball.steepest(gradient)
        ahead = self.ball.project(moved, rows.clean)
        mixed = s["point"] + per_row(a) * (ahead - s["point"]) + per_row(1 - a) * drift
        s["previous"], s["point"] = s["point"], self.ball.project(mixed, rows.clean)
        return Stepped(s)

    def _asked(
        self, rows: Rows, s: State, here: Tensor, queries: Queries, record: bool | Tensor = True
    ) -> tuple[Tensor, Tensor]:
        """The loss at a picture of each row, and its gradient."""
        ask = partial(queries.gradient, here, wanted=self.wants_gradient(rows), record=record)
        if self.loss == "targeted":
            return ask(losses.targeted_logits_ratio, s["target"])
        return ask(losses.log_odds if self.loss == "ce" else losses.logits_ratio)

    def _look(self, rows: Rows, s: State, gradient: Tensor) -> Tensor:
        """At checkpoints: halves steps that do not help, and goes back to the best point.

        Changes the state, and returns the gradient to go on with.
        """
        since = self._since_last_look(rows)
        look = since > 0
        if not bool(look.any()):
            return gradient
        stalls = s["rises"] < _RISING * since
        stuck = ~s["halved_at_look"] & (s["best_loss_at_look"] >= s["best_loss"])
        halve = look & (stalls | stuck)
        s["step_size"] = (s["step_size"] / 2).where(halve, s["step_size"])
        s["point"] = s["best_point"].where(per_row(halve), s["point"])
        s["halved_at_look"] = halve.where(look, s["halved_at_look"])
        s["best_loss_at_look"] = s["best_loss"].where(look, s["best_loss_at_look"])
        s["rises"] = torch.zeros_like(s["rises"]).where(look, s["rises"])
        return s["best_gradient"].where(per_row(halve), gradient)

    def _since_last_look(self, rows: Rows) -> Tensor:
        """For rows at a checkpoint the steps since the one before, else 0; int64 ``[N]``."""
        since = torch.zeros(self.steps + 2, dtype=torch.int64)
        for before, at in checkpoints(self.steps):
            since[at] = at - before
        return since.to(rows.step.device)[rows.step]

    def _check_classes(self, rows: Rows) -> None:
        num, least = rows.logits.shape[1], {"ce": 2, "dlr": 3, "targeted": 4}[self.loss]
        if num < least:
            raise UserError(
                f"apgd with the loss {self.loss} needs {least} classes, there are {num}; use ce"
            )


def checkpoints(steps: int) -> list[tuple[int, int]]:
    """The steps at which progress is looked at, each with the one before it.

    The source's periods: 22 % of the steps, then 3 % less each time, and at least 6 %.
    """
    period, least, less = (
        max(int(0.22 * steps), 1),
        max(int(0.06 * steps), 1),
        max(int(0.03 * steps), 1),
    )
    spans, at = [], 0
    while at + period <= steps:
        spans.append((at, at + period))
        at += period
        period = max(period - less, least)
    return spans
