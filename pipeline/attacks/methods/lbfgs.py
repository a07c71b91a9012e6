"""The first attack on a network.

Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow and Fergus, "Intriguing properties of neural
networks", 2013 (arXiv 1312.6199), section 4.1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.attacks.base import Norm, Queries, Rows, State, Stepped
from pipeline.attacks.engine.projected_lbfgs import ProjectedLbfgs
from pipeline.attacks.entry import AttackEntry, only_l2
from pipeline.attacks.geometry.lattice import gap, on_lattice
from pipeline.attacks.geometry.rowwise import row_dot

_FURTHER = 4.0  # by how much c changes while only one side of the wanted one is known


@dataclass(frozen=True)
class Lbfgs:
    """Box-constrained L-BFGS on ``c ||r||² + ℓ(x + r)``.

    A line search finds the largest c whose minimum breaks the row.

    ℓ is ``log(1 + exp(missing))``, the cross-entropy of the strongest wrong class when there were
    only it and the true one; in the source, where one class is aimed at, that of all classes. Two
    things differ from the source besides. L-BFGS goes from one picture of whole levels to another
    (see `lattice`), so that values and gradients fit each other exactly and rounding loses nothing.
    And a new c goes on from the minimum of the one before, with value, gradients and remembered
    curvature corrected for it, which costs no query.

    Attributes:
        steps: queries for each c, at most, each forward and backward.
        searches: values of c.
        memory: pairs that L-BFGS keeps, each of two pictures a row.
        tolerance: a fall of less than this share of the objective ends a c.
    """

    steps: int = 20
    searches: int = 10
    memory: int = 5
    tolerance: float = 1e-3
    restarts: int = 1
    smallest: Norm = Norm.L2

    @property
    def num_steps(self) -> int:
        """Queries, each forward and backward, at most."""
        return self.steps * self.searches

    @property
    def _inner(self) -> ProjectedLbfgs:
        return ProjectedLbfgs(self.memory, self.tolerance)

    def begin(self, rows: Rows) -> State:
        """At the picture itself, with no c known to be too large or small enough."""
        none = torch.zeros_like(rows.clean[:, 0, 0, 0])
        return {
            **self._inner.begin(rows.clean.flatten(1)),
            "c": none,
            "too_large": none + torch.inf,
            "small_enough": none,
            "broken": none > 0,
            "iteration": torch.zeros_like(rows.step),
            "search": torch.zeros_like(rows.step),
        }

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """One query of each row: a trial of L-BFGS; then, for rows at rest, the next c."""

        def project(points: Tensor) -> Tensor:
            return on_lattice(points.reshape_as(rows.clean), rows.clean, Norm.L2).flatten(1)

        s = dict(state)
        here = s["trial"].reshape_as(rows.clean)
        every = torch.ones_like(s["broken"])
        missing, gradient = queries.gradient(here, gap, wanted=every)
        c = _first_c(missing, gradient).where(rows.step == 0, s["c"])
        r = (here - rows.clean).flatten(1)
        # The derivative of log(1 + exp(missing)) is the logistic function.
        value = c * row_dot(r, r) + F.softplus(missing)
        slope = 2 * c[:, None] * r + missing.sigmoid()[:, None] * gradient.flatten(1)
        s = {**s, **self._inner.tell(s, value, slope, 1 / (2 * c), project), "c": c}
        s["broken"] = (missing < 0).where(s["accepted"], s["broken"])
        s["iteration"] = s["iteration"] + 1
        over = s["resting"] | (s["iteration"] >= self.steps)
        self._next_c(rows, s, over)
        self._inner.head_for(s, over, 1 / (2 * s["c"]), project)
        return Stepped(s, done=s["search"] >= self.searches)

    def _next_c(self, rows: Rows, s: State, over: Tensor) -> None:
        """Changes the rows that are through with their c."""
        c = s["c"]
        s["small_enough"] = c.where(over & s["broken"], s["small_enough"])
        s["too_large"] = c.where(over & ~s["broken"], s["too_large"])
        # The root in two factors, since the product may leave float32's range.
        between = s["small_enough"].sqrt() * s["too_large"].sqrt()
        further = (c * _FURTHER).where(s["too_large"] == torch.inf, between)
        further = (c / _FURTHER).where(s["small_enough"] == 0, further)
        s["c"] = further.where(over, c)
        more = s["c"] - c
        r = s["point"] - rows.clean.flatten(1)
        s["value"] = s["value"] + more * row_dot(r, r)
        s["gradient"] = s["gradient"] + 2 * more[:, None] * r
        s["changes"] = s["changes"] + 2 * more[:, None, None] * s["steps"]
        s["iteration"] = s["iteration"].masked_fill(over, 0)
        s["search"] = s["search"] + over


def _first_c(missing: Tensor, gradient: Tensor) -> Tensor:
    """The c whose minimum lies on the boundary, were the margin linear: ``||∇||² / 4 missing``.

    There ``r = -missing ∇ / ||∇||²``, ``2 c r + ∇ / 2 = 0``.
    """
    squared = row_dot(gradient, gradient)
    return (squared / (4 * missing.clamp_min(1e-6))).clamp_min(1e-12)


LBFGS = AttackEntry("lbfgs", only_l2(Lbfgs), steps=20, bounded=False)
