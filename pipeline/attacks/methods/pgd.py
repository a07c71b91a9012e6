"""Projected gradient descent on the negative loss.

Madry, Makelov, Schmidt, Tsipras and Vladu, "Towards deep learning models resistant to adversarial
attacks", 2017 (arXiv 1706.06083).
"""

from dataclasses import dataclass

from pipeline.attacks.base import GradientSteps, Loss, Queries, Rows, State, Stepped, per_row
from pipeline.attacks.entry import AttackEntry, Strength
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.losses import log_odds


@dataclass(frozen=True)
class Pgd(GradientSteps):
    """Steps of fixed length up the loss, each projected to the ball and the box.

    L∞ steps along the gradient's sign, L2 along its direction, L1 along its largest values.

    Attributes:
        ball: where the pictures lie.
        steps: gradient steps.
        step_size: α, in [0, 1] units; None for 2.5 ε / steps, which reaches any point of the ball
            from any other and leaves room to turn.
        random_start: begin at a point drawn uniformly from the ball, not at the picture itself.
        restarts: how often a row begins, after the first time at random in any case.
        loss: what is raised; the log odds point where the cross-entropy does.
    """

    ball: Ball
    steps: int = 40
    step_size: float | None = None
    random_start: bool = True
    restarts: int = 1
    loss: Loss = log_odds
    smallest: None = None

    def begin(self, rows: Rows) -> State:
        """A point of the ball for each row."""
        random = per_row((rows.restart > 0) | self.random_start)
        if not bool(random.any()):
            return {"point": rows.clean}
        return {"point": self.ball.random_point(rows, 0).where(random, rows.clean)}

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """``x ← Π(x + α d)``, where d is the ball's steepest direction up the loss."""
        alpha = 2.5 * self.ball.eps / self.steps if self.step_size is None else self.step_size
        here = self.ball.snap(state["point"], rows.clean)
        _, gradient = queries.gradient(here, self.loss, wanted=self.wants_gradient(rows))
        gradient = self.ball.movable(gradient, state["point"])
        moved = state["point"] + alpha * self.ball.steepest(gradient)
        return Stepped({"point": self.ball.project(moved, rows.clean)})


def _build(s: Strength) -> Pgd:
    return Pgd(s.ball, s.steps, s.step_size, restarts=s.restarts)


PGD = AttackEntry("pgd", _build, steps=40, heeds=("step_size", "restarts"))
