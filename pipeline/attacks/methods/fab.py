"""FAB, the fast adaptive boundary attack, towards one class.

Croce and Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack",
2019 (arXiv 1907.02044), algorithm 1. The targeted version is that of Croce and Hein, "Reliable
evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", 2020
(arXiv 2003.01690), section 4.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.attacks.base import Queries, Rows, State, Stepped, per_row, row_norm
from pipeline.attacks.entry import AttackEntry, Strength
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.geometry.hyperplane import to_hyperplane_in_box
from pipeline.attacks.geometry.lattice import gap
from pipeline.attacks.geometry.rowwise import row_dot
from pipeline.perturbation_terms import MARGIN

_MOST_CLEAN = 0.1  # α_max of the source: the most that the clean picture pulls
_BEYOND = 1.05  # η: steps to the hyperplane are stretched, so that they cross it
_BACK = 0.9  # β: what is left of a change that made the answer wrong
_SHORTEST = 1e-8  # a distance: two of nought have no ratio
_ON_SPHERE = 1e-6  # float32 changes as long as the radius come out longer by up to this


@dataclass(frozen=True)
class FabTargeted:
    """Steps along the border to one class, towards the border's point nearest to the picture.

    It looks for the smallest change, and walks where that leads, outside the ball as well; the ball
    only decides when a row is done. So there are two kinds of questions. Those of the walk are
    about pictures in floating point, wherever they lie, and are not recorded. Where the walk comes
    into the ball, or would but for η, the row is also asked about a picture of whole levels there:
    the walk's, where that is in the ball and wrong; else the one at the end of its direction, on
    the sphere or where the box ends, because a change just below the radius may lose to rounding
    what a whole level more keeps (in L∞, 3.4 levels round to 3, and a ball of 4 has room for 4).

    An iteration elsewhere takes two forward passes, one of them with a gradient, as in the source.
    To ask for the second one's gradient as well, in case the walk goes on from that very picture,
    was tried and costs more than it saves: three of four such pictures are wrong, and left. Unlike
    in the source the border is where the target leads by `MARGIN`, as a row counts as broken there.

    Attributes:
        ball: L∞, L2 or L1.
        iterations: linearisations of a row, for each class aimed at.
        restarts: the classes aimed at: restart i aims at the i-th most likely wrong one, from the
            picture itself. Where there are fewer wrong classes, a restart without a class is
            given up unasked.
    """

    ball: Ball
    iterations: int = 100
    restarts: int = 9
    smallest: None = None

    @property
    def num_steps(self) -> int:
        """A step is an iteration."""
        return self.iterations

    def for_classes(self, classes: int) -> "FabTargeted":
        """With one restart for each wrong class at most."""
        return replace(self, restarts=min(self.restarts, classes - 1))

    def begin(self, rows: Rows) -> State:
        """At the picture itself."""
        nothing = torch.zeros_like(rows.label, dtype=torch.bool)
        return {
            "point": rows.clean,
            "target": rows.aim,
            "in_vain": rows.restart >= rows.logits.shape[1] - 1,
            "own_asked": nothing,
            "nearest": torch.full_like(rows.clean[:, 0, 0, 0], torch.inf),
        }

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """One linearisation, and looks at where it leads and at a picture that can be stored."""
        here, alive = state["point"], ~state["in_vain"]
        lead, gradient = queries.gradient(
            here, _lead, state["target"], wanted=alive, asked=alive, record=False
        )
        ahead = self._ahead(here, rows.clean, -lead, gradient)
        wrong = gap(queries.logits(ahead, asked=alive, record=False), rows.label) < 0
        change = ahead - rows.clean
        length = row_norm(change, self.ball.norm)
        own = self._look_inside(rows, state, queries, change, length, wrong)
        back = rows.clean + _BACK * change
        # Where the picture's own gradient is nought, every iteration would be this one.
        stuck = (rows.step == 0) & (gradient == 0).flatten(1).all(dim=1)
        shortest = length.flatten().where(wrong, torch.inf).minimum(state["nearest"])
        after = {
            **state,
            "point": back.where(per_row(wrong), ahead),
            "own_asked": own,
            "nearest": shortest,  # so far, of the changes that made an answer wrong
        }
        return Stepped(after, done=state["in_vain"] | stuck)

    def _look_inside(
        self,
        rows: Rows,
        state: State,
        queries: Queries,
        change: Tensor,
        length: Tensor,
        wrong: Tensor,
    ) -> Tensor:
        """Asks the rows whose walk comes near about a picture in the ball.

        Returns:
            The rows whose own picture that was, bool ``[N]``.
        """
        inside = (length <= self.ball.eps + _ON_SPHERE).flatten() & ~state["in_vain"]
        # A row that is still here after its own picture was asked lost it to rounding.
        own = wrong & inside & ~state["own_asked"]
        near = (length <= _BEYOND * self.ball.eps).flatten() & ~state["in_vain"]
        if bool(near.any()):
            stretch = (self.ball.eps / length.clamp_min(_SHORTEST)).clamp_min(1.0)
            end = self.ball.project(rows.clean + stretch * change, rows.clean)
            ahead = rows.clean + change
            asked = self.ball.snap(ahead.where(per_row(own), end), rows.clean)
            queries.logits(asked, asked=near)
        return own

    def _ahead(self, here: Tensor, clean: Tensor, missing: Tensor, gradient: Tensor) -> Tensor:
        """Beyond the hyperplane, between the steps to it from here and from the clean picture."""
        norm = self.ball.norm
        from_here = to_hyperplane_in_box(missing, gradient, here, norm)
        missing_clean = missing + row_dot(gradient, here - clean)
        from_clean = to_hyperplane_in_box(missing_clean, gradient, clean, norm)
        near = row_norm(from_here, norm).clamp_min(_SHORTEST)
        far = row_norm(from_clean, norm).clamp_min(_SHORTEST)
        share = (near / (near + far)).clamp_max(_MOST_CLEAN)
        ahead = here + _BEYOND * from_here
        return (ahead + share * (clean + _BEYOND * from_clean - ahead)).clamp(0, 1)


def _lead(logits: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """By how much the target leads the true class, less `MARGIN`, ``[N]``."""
    pair = logits.gather(1, torch.stack((target, label), dim=1))
    return pair[:, 0] - pair[:, 1] - MARGIN


def _build(s: Strength) -> FabTargeted:
    return FabTargeted(s.ball, s.steps, s.restarts)


FAB_TARGETED = AttackEntry("fab_targeted", _build, steps=100, heeds=("restarts",))
