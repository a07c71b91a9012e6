"""The momentum iterative fast gradient sign method.

Dong, Liao, Pang, Su, Zhu, Hu and Li, "Boosting adversarial attacks with momentum", 2017 (arXiv
1710.06081), algorithm 1.
"""

from dataclasses import dataclass

from pipeline.attacks.base import GradientSteps, Norm, Queries, Rows, State, Stepped, row_norm
from pipeline.attacks.entry import AttackEntry
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.losses import log_odds


@dataclass(frozen=True)
class MiFgsm(GradientSteps):
    """PGD along an average of the gradients so far, which other models share more often.

    Attributes:
        ball: where the pictures lie.
        steps: gradient steps, each ε / steps long.
        decay: μ, of the average.
    """

    ball: Ball
    steps: int = 10
    decay: float = 1.0
    restarts: int = 1
    smallest: None = None

    def begin(self, rows: Rows) -> State:
        """At the picture itself, with no momentum."""
        return {"point": rows.clean, "average": rows.clean.new_zeros(rows.clean.shape)}

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """``g ← μ g + ∇ℓ / ||∇ℓ||_1``, ``x ← Π(x + α d(g))``."""
        here = self.ball.snap(state["point"], rows.clean)
        _, gradient = queries.gradient(here, log_odds, wanted=self.wants_gradient(rows))
        share = gradient / row_norm(gradient, Norm.L1).clamp_min(1e-30)
        average = self.decay * state["average"] + share
        direction = self.ball.steepest(self.ball.movable(average, state["point"]))
        moved = state["point"] + self.ball.eps / self.steps * direction
        return Stepped({"point": self.ball.project(moved, rows.clean), "average": average})


MI_FGSM = AttackEntry("mi_fgsm", lambda s: MiFgsm(s.ball, s.steps), steps=10)
