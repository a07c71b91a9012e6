"""Many small box-constrained problems at a time, each by L-BFGS and at its own pace.

The quasi-Newton step is that of Liu and Nocedal, "On the limited memory BFGS method for large scale
optimization", 1989, in the two loops of Nocedal and Wright, "Numerical Optimization", algorithm
7.4. The box is kept as Bertsekas, "Projected Newton methods for optimization problems with simple
constraints", 1982, has it: values at a bound that the gradient pushes against are left out of the
step, and every trial is projected.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.base import State
from pipeline.attacks.geometry.projection import within_box
from pipeline.attacks.geometry.rowwise import row_dot

Project = Callable[[Tensor], Tensor]

_ARMIJO = 1e-4  # of the fall that the slope promises, at least
_CURVATURE = 1e-8  # cosine between a step and the gradient's change, from which on it is remembered
_SHORTEST = 1e-10  # of the first length of a step


@dataclass(frozen=True)
class ProjectedLbfgs:
    """Minimises functions on [0, 1]^D, one a row, that are told one value at a time.

    ``trial`` in the state is where a row wants the function's value and gradient next; `tell` takes
    them and moves on. ``point``, ``value`` and ``gradient`` are of the best point so far,
    ``accepted`` says whether that is the trial last told, and ``resting`` that the row has arrived.

    Attributes:
        memory: pairs of steps and gradients' changes that are kept.
        tolerance: a fall of less than this share of the value ends a row.
    """

    memory: int = 10
    tolerance: float = 1e-3

    def begin(self, start: Tensor) -> State:
        """At points of the box ``[N, D]``, of which nothing is known."""
        num, size = start.shape
        none = start.new_zeros(num)
        pairs = start.new_zeros(num, self.memory, size)
        return {
            "point": start,
            "value": none + torch.inf,
            "gradient": torch.zeros_like(start),
            "trial": start,
            "direction": torch.zeros_like(start),
            "length": none,
            "steps": pairs,
            "changes": pairs,
            "plain": none == 0,
            "accepted": none > 0,
            "resting": none > 0,
        }

    def tell(
        self, state: State, value: Tensor, gradient: Tensor, scale: Tensor, project: Project
    ) -> State:
        """The state after ``value`` ``[N]`` and ``gradient`` ``[N, D]`` of the trial.

        Args:
            scale: ``[N]``: the inverse of the curvature that is assumed where none is remembered.
            project: to the points that may be asked about, which lie in the box. They need not be
                all of it: a row rests where no step leads to another one that is lower.
        """
        s = dict(state)
        move = s["trial"] - s["point"]
        slope = row_dot(s["gradient"], move)
        first = s["value"] == torch.inf
        promised = s["value"] + _ARMIJO * slope
        accepted = first | ((slope < 0) & (value <= promised))
        fall = s["value"] - value
        # Where the parabola through both values and the slope is lowest.
        lowest = (-slope / (2 * (value - s["value"] - slope))).nan_to_num(nan=0.25)
        shorter = s["length"] * lowest.where(slope < 0, lowest * 0 + 0.25).clamp(0.1, 0.5)
        self._remember(s, move, gradient - s["gradient"], accepted & ~first)
        there = accepted[:, None]
        s["point"] = s["trial"].where(there, s["point"])
        s["gradient"] = gradient.where(there, s["gradient"])
        s["value"] = value.where(accepted, s["value"])
        s["accepted"] = accepted
        s["length"] = shorter
        settled = accepted & (fall <= self.tolerance * value.abs())
        self.head_for(s, accepted, scale, project)
        s["resting"] = s["resting"] | settled
        return s

    def head_for(self, s: State, anew: Tensor, scale: Tensor, project: Project) -> None:
        """Changes the state: the next trial, along a new direction for the rows in ``anew``."""
        direction, plain = self._direction(s, scale)
        s["direction"] = direction.where(anew[:, None], s["direction"])
        s["plain"] = plain.where(anew, s["plain"])
        s["length"] = s["length"].masked_fill(anew, 1.0)
        s["trial"] = _along(s, project)
        # A remembered curvature that leads nowhere is forgotten, once: then the gradient itself.
        lost = _unmoved(s) & ~s["plain"]
        if bool(lost.any()):
            for name in ("steps", "changes"):
                s[name] = s[name].masked_fill(lost[:, None, None], 0.0)
            steepest = -scale[:, None] * within_box(s["gradient"], s["point"])
            s["direction"] = steepest.where(lost[:, None], s["direction"])
            s["plain"] = s["plain"] | lost
            s["length"] = s["length"].masked_fill(lost, 1.0)
            s["trial"] = _along(s, project)
        s["resting"] = _unmoved(s)

    def _remember(self, s: State, move: Tensor, change: Tensor, accepted: Tensor) -> None:
        curved = (
            row_dot(move, change)
            > _CURVATURE * (row_dot(move, move) * row_dot(change, change)).sqrt()
        )
        kept = (accepted & curved)[:, None, None]
        for name, newest in (("steps", move), ("changes", change)):
            pushed = torch.cat((s[name][:, 1:], newest[:, None]), dim=1)
            s[name] = pushed.where(kept, s[name])

    def _direction(self, s: State, scale: Tensor) -> tuple[Tensor, Tensor]:
        """``-H ∇`` in the free values, and whether H is only ``scale``."""
        q = within_box(s["gradient"], s["point"])
        free = (q != 0).to(q.dtype)
        downhill = -scale[:, None] * q
        pairs = []
        for i in range(self.memory):  # oldest first
            step, change = s["steps"][:, i] * free, s["changes"][:, i] * free
            curvature, length = row_dot(step, change), row_dot(change, change)
            valid = curvature > _CURVATURE * (row_dot(step, step) * length).sqrt()
            inverse = (1 / curvature).where(valid, torch.zeros_like(curvature))
            scale = (curvature / length).where(valid, scale)
            pairs.append((step, change, inverse))
        plain = sum((inverse > 0).long() for _, _, inverse in pairs) == 0
        shares = []
        for step, change, inverse in reversed(pairs):
            share = inverse * row_dot(step, q)
            q = q - share[:, None] * change
            shares.append(share)
        r = scale[:, None] * q
        for (step, change, inverse), share in zip(pairs, reversed(shares), strict=True):
            r = r + (share - inverse * row_dot(change, r))[:, None] * step
        falls = row_dot(r, s["gradient"]) > 0
        plain = torch.as_tensor(plain) | ~falls
        return downhill.where(plain[:, None], -r * free), plain


def _along(s: State, project: Project) -> Tensor:
    return project(s["point"] + s["length"][:, None] * s["direction"])


def _unmoved(s: State) -> Tensor:
    return (s["trial"] == s["point"]).all(dim=1) | (s["length"] < _SHORTEST)
