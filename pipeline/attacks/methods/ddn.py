"""The decoupled direction and norm attack.

Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger, "Decoupling direction and norm for
efficient gradient-based L2 adversarial attacks and defenses", 2018 (arXiv 1811.09600), algorithm 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.base import (
    GradientSteps,
    Norm,
    Queries,
    Rows,
    State,
    Stepped,
    per_row,
    row_norm,
)
from pipeline.attacks.engine.annealing import along_cosine
from pipeline.attacks.entry import AttackEntry, only_l2
from pipeline.attacks.geometry.lattice import gap, on_lattice
from pipeline.attacks.losses import log_odds

_LAST_STEP = 0.01  # of the step size, reached along half a cosine
_FINE = 0.05  # of the radius: rounding that moves a change by more would lose it


@dataclass(frozen=True)
class Ddn(GradientSteps):
    """PGD in L2 whose radius shrinks after a broken picture and grows after an unbroken one.

    The source, too, rounds every picture that it asks about, and goes on from there. So does this
    where rounding moves the picture by at most a twentieth of the radius: on a robust network that
    made the medians 4 % shorter. Finer changes, which it would lose, are kept as they are.

    Attributes:
        steps: queries, each forward and backward.
        gamma: γ, the share by which the radius changes at each step.
        first_radius: ε_0, in [0, 1] units.
        step_size: α_0, in [0, 1] units.
    """

    steps: int = 100
    gamma: float = 0.05
    first_radius: float = 1.0
    step_size: float = 1.0
    restarts: int = 1
    smallest: Norm = Norm.L2

    def begin(self, rows: Rows) -> State:
        """At the picture itself."""
        radius = torch.full_like(rows.clean[:, 0, 0, 0], self.first_radius)
        return {"point": rows.clean, "radius": radius}

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """``δ ← δ + α g / ||g||``, ``ε ← (1 ± γ) ε``, ``x ← x_0 + ε δ / ||δ||``."""
        here = on_lattice(state["point"], rows.clean, Norm.L2)
        missing, gradient = queries.gradient(here, _raised, wanted=self.wants_gradient(rows))
        direction = gradient / row_norm(gradient, Norm.L2).clamp_min(1e-30)
        alpha = self.step_size * along_cosine(rows.step, self.steps, _LAST_STEP)
        delta = state["point"] - rows.clean + per_row(alpha) * direction
        # The picture itself, which step 0 asks about, says nothing of the radius.
        shorter, longer = state["radius"] * (1 - self.gamma), state["radius"] * (1 + self.gamma)
        radius = state["radius"].where(rows.step == 0, shorter.where(missing < 0, longer))
        point = rows.clean + per_row(radius) * delta / row_norm(delta, Norm.L2).clamp_min(1e-30)
        point = point.clamp(0, 1)
        rounded = on_lattice(point, rows.clean, Norm.LINF)  # each value's nearest level
        fine = row_norm(rounded - point, Norm.L2) > _FINE * per_row(radius)
        return Stepped({"point": point.where(fine, rounded), "radius": radius})


def _raised(logits: Tensor, label: Tensor) -> Tensor:
    """The value of `gap` with the gradient of the log odds, so that one query gives both.

    The direction g / ||g|| of that gradient is the cross-entropy's.
    """
    loss = log_odds(logits, label)
    return loss - loss.detach() + gap(logits, label).detach()


DDN = AttackEntry("ddn", only_l2(Ddn), steps=100, bounded=False)
