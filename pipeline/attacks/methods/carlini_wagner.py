"""The attack of Carlini and Wagner in L2.

"Towards evaluating the robustness of neural networks", 2016 (arXiv 1608.04644), section VI.A.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.base import Norm, Queries, Rows, State, Stepped, per_row
from pipeline.attacks.entry import AttackEntry, only_l2
from pipeline.attacks.geometry.lattice import gap, on_lattice
from pipeline.attacks.geometry.rowwise import row_dot
from pipeline.pictures import LEVELS

_BETA_1, _BETA_2, _TINY = 0.9, 0.999, 1e-8  # of Adam
_LOOKS = 10  # at progress, in the steps of one c
_PROGRESS = 0.9999  # of the objective: what is not below this share of it has stalled
# Where tanh space begins for a value at a bound: a quarter of a level off, which rounds back to the
# bound. The nearer to it, the more steps until tanh leaves its flat end.
_INSIDE = 0.25 / LEVELS


@dataclass(frozen=True)
class CarliniWagner:
    """Adam on ``||δ||² + c max(missing, 0)`` in tanh space, with a bisection for c.

    ``missing`` is the lead of the true class over the strongest other one; κ of the source is
    `MARGIN`, since a row's result is its smallest broken picture, whatever its lead. Every c
    begins at the picture again. The smallest c that breaks a row gives the smallest change, so c is
    bisected after a success and multiplied by ten while there was none. Unlike in the source the
    first c is each row's own: twice the one at which a model with this margin and gradient, were it
    linear, would just be broken. So one setting serves models whose logits differ in scale.

    Attributes:
        steps: of Adam for each c, at most: a row whose objective stalls for a tenth of them goes on
            to the next c.
        searches: values of c.
        learning_rate: of Adam, in units of tanh space.
    """

    steps: int = 100
    searches: int = 6
    learning_rate: float = 0.03
    restarts: int = 1
    smallest: Norm = Norm.L2

    @property
    def num_steps(self) -> int:
        """Queries, each forward and backward, at most."""
        return self.steps * self.searches

    def begin(self, rows: Rows) -> State:
        """At the picture itself, with no c known to be too small or large enough."""
        start = _to_tanh_space(rows.clean)
        none = torch.zeros_like(rows.clean[:, 0, 0, 0])
        return {
            "w": start,
            "mean": torch.zeros_like(start),
            "square": torch.zeros_like(start),
            "c": none,
            "too_small": none,
            "enough": none + torch.inf,
            "broken": none > 0,
            "last_look": none + torch.inf,
            "iteration": torch.zeros_like(rows.step),
            "search": torch.zeros_like(rows.step),
        }

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """One step of Adam, and for rows that are through with their c the next c."""
        s = dict(state)
        tanh = torch.tanh(s["w"])
        point = (tanh + 1) / 2
        here = on_lattice(point, rows.clean, Norm.L2)
        every = torch.ones_like(s["broken"])
        missing, gradient = queries.gradient(here, gap, wanted=every)
        s["c"] = _first_c(missing, gradient).where(rows.step == 0, s["c"])
        s["broken"] = s["broken"] | (missing < 0)
        delta = point - rows.clean
        weight = s["c"] * (missing > 0)
        by_point = 2 * delta + per_row(weight) * gradient
        self._adam(s, by_point * (1 - tanh * tanh) / 2)
        s["iteration"] = s["iteration"] + 1
        hinge = missing.clamp_min(0.0)
        objective = row_dot(delta, delta) + s["c"] * hinge
        self._next_c(rows, s, objective)
        return Stepped(s, done=s["search"] >= self.searches)

    def _adam(self, s: State, gradient: Tensor) -> None:
        """Kingma and Ba, "Adam: a method for stochastic optimization", 2014, algorithm 1."""
        s["mean"] = _BETA_1 * s["mean"] + (1 - _BETA_1) * gradient
        s["square"] = _BETA_2 * s["square"] + (1 - _BETA_2) * gradient * gradient
        number = s["iteration"].to(gradient.dtype) + 1
        mean = s["mean"] / per_row(1 - _BETA_1**number)
        square = s["square"] / per_row(1 - _BETA_2**number)
        s["w"] = s["w"] - self.learning_rate * mean / (square.sqrt() + _TINY)

    def _next_c(self, rows: Rows, s: State, objective: Tensor) -> None:
        """Changes the rows that have had all steps of their c, or stall."""
        look = s["iteration"] % max(1, self.steps // _LOOKS) == 0
        stalled = look & (objective > _PROGRESS * s["last_look"])
        s["last_look"] = objective.where(look, s["last_look"])
        over = stalled | (s["iteration"] >= self.steps)
        s["enough"] = s["c"].where(over & s["broken"], s["enough"])
        s["too_small"] = s["c"].where(over & ~s["broken"], s["too_small"])
        between = (s["too_small"] + s["enough"]) / 2
        further = between.where(s["enough"] < torch.inf, 10 * s["c"])
        s["c"] = further.where(over, s["c"])
        s["w"] = _to_tanh_space(rows.clean).where(per_row(over), s["w"])
        for name in ("mean", "square"):
            s[name] = s[name].masked_fill(per_row(over), 0.0)
        s["broken"] = s["broken"] & ~over
        s["last_look"] = s["last_look"].masked_fill(over, torch.inf)
        s["iteration"] = s["iteration"].masked_fill(over, 0)
        s["search"] = s["search"] + over


def _to_tanh_space(point: Tensor) -> Tensor:
    """``w`` with ``(tanh(w) + 1) / 2 = point``."""
    return torch.atanh(2 * point.clamp(_INSIDE, 1 - _INSIDE) - 1)


def _first_c(missing: Tensor, gradient: Tensor) -> Tensor:
    """Twice the c of a linear margin, ``2 · 2 missing / ||∇||²``.

    The smallest change is there ``δ = -missing ∇ / ||∇||²``, and at it ``2 δ + c ∇ = 0``.
    """
    squared = row_dot(gradient, gradient)
    return 4 * missing / squared.clamp_min(1e-12)


CARLINI_WAGNER = AttackEntry("carlini_wagner", only_l2(CarliniWagner), steps=100, bounded=False)
