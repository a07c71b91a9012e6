"""Plain gradient ascent on the input."""

from dataclasses import dataclass

from pipeline.attacks.base import GradientSteps, Queries, Rows, State, Stepped
from pipeline.attacks.entry import AttackEntry, Strength
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.losses import cross_entropy
from pipeline.errors import UserError


@dataclass(frozen=True)
class Ascent(GradientSteps):
    """``x ← x + α ∇_x ℓ(f(x), y)``, repeated: the gradient itself, neither its sign nor direction.

    The step is as long as the gradient: where the classifier is sure of itself both are small, so
    α must be large (hundreds, for a well-trained classifier) and few steps do little.

    Attributes:
        ball: that each step is projected to.
        step_size: α, in [0, 1] units per unit of gradient.
        steps: how often the step is taken.
    """

    ball: Ball
    step_size: float
    steps: int = 1
    restarts: int = 1
    smallest: None = None

    def begin(self, rows: Rows) -> State:
        """At the picture itself."""
        return {"point": rows.clean}

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """One step of each row."""
        here = self.ball.snap(state["point"], rows.clean)
        _, gradient = queries.gradient(here, cross_entropy, wanted=self.wants_gradient(rows))
        moved = state["point"] + self.step_size * gradient
        return Stepped({"point": self.ball.project(moved, rows.clean)})


def _build(s: Strength) -> Ascent:
    if s.step_size is None:
        raise UserError("ascent needs a step_size: the α of x ← x + α ∇ℓ, for example 100")
    return Ascent(s.ball, s.step_size, s.steps)


ASCENT = AttackEntry("ascent", _build, steps=20, heeds=("step_size",), step_per_gradient=True)
