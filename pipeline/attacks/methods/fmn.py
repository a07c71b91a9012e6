"""Fast minimum-norm attacks.

Pintor, Roli, Brendel and Biggio, "Fast minimum-norm adversarial attacks through adaptive norm
constraints", 2021 (arXiv 2102.12827), algorithm 1.
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
from pipeline.attacks.entry import AttackEntry
from pipeline.attacks.geometry.lattice import gap, on_lattice
from pipeline.attacks.geometry.projection import onto_ball
from pipeline.pictures import LEVELS

_DUAL = {Norm.LINF: Norm.L1, Norm.L2: Norm.L2, Norm.L1: Norm.LINF}
_LAST_STEP = 0.01  # of α_0 and
_LAST_GAMMA = 0.02  # of γ_0, each reached along half a cosine


@dataclass(frozen=True)
class Fmn(GradientSteps):
    """Steps up the margin, projected to a ball whose radius closes in on the boundary.

    Until a row is broken, the radius reaches as far as the boundary would be if the margin were
    linear; then it shrinks by a share γ from a broken picture and grows by it from one that is not,
    and never exceeds the smallest broken change. In L2 the change goes to the ball's sphere.

    Attributes:
        smallest: L∞, L2 or L1.
        steps: queries, each forward and backward.
        step_size: α_0, the L2 length of the first step, in [0, 1] units.
        gamma: γ_0.
    """

    smallest: Norm = Norm.L2
    steps: int = 100
    step_size: float = 1.0
    gamma: float = 0.05
    restarts: int = 1

    def begin(self, rows: Rows) -> State:
        """At the picture itself; no broken change is known."""
        unknown = torch.full_like(rows.clean[:, 0, 0, 0], torch.inf)
        return {"delta": torch.zeros_like(rows.clean), "radius": unknown, "best": unknown}

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """The radius, and ``δ ← Π_ε(δ + α g / ||g||_2)`` within the box."""
        here = on_lattice(rows.clean + state["delta"], rows.clean, self.smallest)
        missing, gradient = queries.gradient(here, gap, wanted=self.wants_gradient(rows))
        size = row_norm(here - rows.clean, self.smallest).flatten()
        broken = missing < 0
        best = torch.minimum(size, state["best"]).where(broken, state["best"])
        radius = self._radius(rows, state, size, missing, gradient, best)
        direction = -gradient / row_norm(gradient, Norm.L2).clamp_min(1e-30)
        alpha = self.step_size * along_cosine(rows.step, self.steps, _LAST_STEP)
        ahead = state["delta"] + per_row(alpha) * direction
        if self.smallest is Norm.L2:
            # Lengthened as well, for what the box took from it the last time. Within the ball alone
            # the medians on a robust network were 12 % longer.
            ahead = ahead * per_row(radius) / row_norm(ahead, Norm.L2).clamp_min(1e-30)
        delta = onto_ball(ahead, radius, self.smallest, rows.clean)
        return Stepped({"delta": delta, "radius": radius, "best": best})

    def _radius(
        self,
        rows: Rows,
        state: State,
        size: Tensor,
        missing: Tensor,
        gradient: Tensor,
        best: Tensor,
    ) -> Tensor:
        """ε, as the class says."""
        gamma = self.gamma * along_cosine(rows.step, self.steps, _LAST_GAMMA)
        steepness = row_norm(gradient, _DUAL[self.smallest]).flatten().clamp_min(1e-12)
        never = state["best"] == torch.inf
        # A level more, since rounding falls short of the boundary: without it the estimate came to
        # rest just before it, with 84 of 100 rows of a small network unbroken in L2.
        estimate = size + missing / steepness + 1 / LEVELS
        grown = estimate.where(never, state["radius"] * (1 + gamma))
        shrunk = torch.minimum(state["radius"] * (1 - gamma), best)
        return shrunk.where(missing < 0, grown)


FMN = AttackEntry("fmn", lambda s: Fmn(s.norm, s.steps), steps=100, bounded=False)
