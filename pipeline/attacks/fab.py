"""FAB, the fast adaptive boundary attack, towards one class: Croce and Hein, "Minimally distorted
adversarial examples with a fast adaptive boundary attack", 2019 (arXiv 1907.02044), algorithm 1;
the targeted version is that of Croce and Hein, "Reliable evaluation of adversarial robustness with
an ensemble of diverse parameter-free attacks", 2020 (arXiv 2003.01690), section 4."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.ball import Ball
from pipeline.attacks.base import Norm, Queries, Rows, State, per_row, row_norm
from pipeline.attacks.lattice import gap
from pipeline.attacks.rowwise import never_alone, row_dot
from pipeline.errors import UserError
from pipeline.formats.perturbation_set import MARGIN

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
    about pictures in floating point, wherever they lie, and are not recorded. Once an iteration the
    row is asked about a picture of whole levels in the ball: the walk's, where it lies in the ball
    and is wrong; else the one at the end of its direction, on the sphere or where the box ends,
    because a change just below the radius may lose to rounding what a whole level more keeps (in
    L∞, 3.4 levels round to 3, and a ball of 4 has room for 4).

    An iteration takes three forward passes, one of them with a gradient. Unlike in the source the
    border is where the target leads by `MARGIN`, as a row counts as broken there.

    Attributes:
        ball: L∞ or L2.
        iterations: linearisations of a row, for each class aimed at.
        restarts: the classes aimed at: beginning i aims at the i-th most likely wrong one, from the
            picture itself. Where there are fewer wrong classes, a beginning without a class is
            given up after its first step: three passes.
    """

    ball: Ball
    iterations: int = 100
    restarts: int = 9
    smallest: None = None

    def __post_init__(self) -> None:
        if self.ball.norm is Norm.L1:
            raise UserError("fab_targeted has no step for the norm l1; use fmn there")

    @property
    def num_steps(self) -> int:
        """A step is an iteration."""
        return self.iterations

    def begin(self, rows: Rows) -> State:
        """At the picture itself."""
        rivals = rows.rivals
        most = rivals.shape[1] - 1
        aimed = rows.restart.clamp_max(most)
        return {
            "point": rows.clean,
            "target": rivals.gather(1, aimed[:, None]).squeeze(1),
            "in_vain": rows.restart > most,
            "own_asked": torch.zeros_like(rows.label, dtype=torch.bool),
            "done": torch.zeros_like(rows.label, dtype=torch.bool),
        }

    def step(self, rows: Rows, state: State, queries: Queries) -> State:
        """One linearisation, and looks at where it leads and at a picture that can be stored."""
        here = state["point"]
        lead, gradient = queries.gradient(
            here, _lead, state["target"], wanted=~state["in_vain"], record=False
        )
        gradient = gradient.masked_fill(per_row(state["in_vain"]), 0.0)
        ahead = self._ahead(here, rows.clean, -lead, gradient)
        wrong = gap(queries.logits(ahead, record=False), rows.label) < 0
        change = ahead - rows.clean
        length = row_norm(change, self.ball.norm)
        inside = (length <= self.ball.eps + _ON_SPHERE).flatten()
        # A row that is still here after its own picture was asked lost it to rounding.
        own = wrong & inside & ~state["own_asked"]
        stretch = (self.ball.eps / length.clamp_min(_SHORTEST)).clamp_min(1.0)
        end = self.ball.project(rows.clean + stretch * change, rows.clean)
        queries.logits(self.ball.snap(ahead.where(per_row(own), end), rows.clean))
        back = rows.clean + _BACK * change
        # Where the picture's own gradient is nought, every iteration would be this one.
        stuck = (rows.step == 0) & (gradient == 0).flatten(1).all(dim=1)
        return {
            **state,
            "point": back.where(per_row(wrong), ahead),
            "own_asked": own,
            "done": state["in_vain"] | stuck,
        }

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


def to_hyperplane_in_box(missing: Tensor, gradient: Tensor, point: Tensor, norm: Norm) -> Tensor:
    """The smallest r with ``<gradient, r> = missing`` and ``point + r`` in [0, 1]: section 3.1.

    Each value moves by ``min(t v, room)`` in the direction that helps, with v = 1 in L∞ and
    v = |gradient| in L2. The gain ``Σ |gradient| min(t v, room)`` is linear in t between those t at
    which a value uses up its room, so these are sorted and t follows from the piece that it is in.

    Args:
        missing: ``[N]``; below 0 the gain is to be negative.
        gradient: ``[N, C, H, W]``; values whose slope is 0 stay.
        point: ``[N, C, H, W]``, in [0, 1].
        norm: L∞ or L2.

    Returns:
        ``[N, C, H, W]``; where the box does not reach the hyperplane, the corner that comes nearest
        to it.
    """
    direction = gradient.sign() * per_row(missing.sign())
    room = torch.where(direction > 0, 1 - point, point).masked_fill(direction == 0, 0.0)
    # In float64: sums of many pieces, of which the last may be small.
    slope, room_at = gradient.abs().double().flatten(1), room.double().flatten(1)
    rate = torch.ones_like(slope) if norm is Norm.LINF else slope
    used_up = torch.where(room_at > 0, room_at / rate, 0.0)
    used_up, order = used_up.sort(dim=1, stable=True)
    gain_at_end = (slope * room_at).gather(1, order)
    speed = (slope * rate).gather(1, order)
    # Of the values before each one, which have no room left, and of it and those after it.
    at_end = _running_sums(gain_at_end) - gain_at_end
    moving = _running_sums(speed.flip(1)).flip(1)
    wanted = missing.abs().double()[:, None]
    piece = (at_end + used_up * moving < wanted).sum(dim=1, keepdim=True)
    beyond = piece == slope.shape[1]
    piece = piece.clamp_max(slope.shape[1] - 1)
    t = (wanted - at_end.gather(1, piece)) / moving.gather(1, piece).clamp_min(1e-300)
    t = t.masked_fill(beyond, torch.inf)
    # 0 · ∞ where the slope is 0: there is no room either.
    size = torch.minimum((t * rate).nan_to_num(nan=0.0, posinf=torch.inf), room_at)
    return direction * size.to(point.dtype).reshape(point.shape)


def _running_sums(values: Tensor) -> Tensor:
    """Along each row of ``[N, D]``."""
    return never_alone(values).cumsum(dim=1)[: values.shape[0]]


def _lead(logits: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """By how much the target leads the true class, less `MARGIN`, ``[N]``."""
    pair = logits.gather(1, torch.stack((target, label), dim=1))
    return pair[:, 0] - pair[:, 1] - MARGIN
