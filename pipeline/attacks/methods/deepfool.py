"""DeepFool.

Moosavi-Dezfooli, Fawzi and Frossard, "DeepFool: a simple and accurate method to fool deep neural
networks", 2015 (arXiv 1511.04599), algorithm 2.
"""

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from pipeline.attacks.base import Norm, Queries, Rows, State, Stepped, per_row, row_norm
from pipeline.attacks.entry import AttackEntry
from pipeline.attacks.geometry.lattice import gap, on_lattice
from pipeline.attacks.geometry.rowwise import row_dot
from pipeline.errors import UserError
from pipeline.perturbation_terms import MARGIN
from pipeline.pictures import LEVELS

# A shorter step would round to the picture that it set out from, again and again: what is missing
# there is mostly what rounding took. With no least step 1 of 27 rows in L∞ was lost after 50
# iterations.
_SHORTEST = 0.5 / LEVELS


@dataclass(frozen=True)
class DeepFool:
    """Steps to the nearest face of the region of the true class, as if the model were linear.

    An iteration takes one query for each wrong class, forward and backward, and then one forward
    alone, which ends a row that it finds broken. The state keeps the nearest face so far, so its
    size does not grow with the number of classes.

    Unlike in the source, faces are found in the picture that was rounded to whole levels (see
    `lattice`), a face counts as reached where the margin is `MARGIN`, and no step is shorter than
    half a level, which rounding could undo. Steps are cut to the box after they are found: to leave
    out the values that it holds back took a third fewer passes and made the changes 12 % longer.

    Attributes:
        smallest: L2 or L∞, the norm of the steps.
        iterations: linearisations of a row, at most.
        classes: the wrong classes that are looked at, those most likely in the clean picture.
        overshoot: η: the change is stretched by 1 + η, so that it crosses the face.
    """

    smallest: Norm = Norm.L2
    iterations: int = 50
    classes: int = 9
    overshoot: float = 0.02
    restarts: int = 1

    def __post_init__(self) -> None:
        if self.smallest is Norm.L1:
            raise UserError("deepfool has no step for the norm l1; use fmn there")

    @property
    def num_steps(self) -> int:
        """Most queries of a row; the look at the clean picture is saved."""
        return self.iterations * (self.classes + 1)

    def begin(self, rows: Rows) -> State:
        """At the picture itself, whose answer is known."""
        missing = gap(rows.logits, rows.label)
        return {
            "change": torch.zeros_like(rows.clean),
            "asked": rows.clean,
            "nearest": torch.zeros_like(rows.clean),
            "distance": torch.full_like(missing, torch.inf),
        }

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """One query of each row: about one class's face, or whether the row is broken."""
        rivals = self._rivals(rows)
        # Queries 0 to num - 1 are about a class each, query num is the look, and so on.
        num = rivals.shape[1]
        turn = rows.step % (num + 1)
        look = turn == num
        rival = rivals.gather(1, turn.clamp_max(num - 1)[:, None]).squeeze(1)
        here = state["asked"]
        missing, gradient = queries.gradient(here, _missing, rival, look, wanted=~look)
        # Never 0, where a step would have no direction.
        missing_here = missing.clamp_min(1e-6)
        to_face = to_hyperplane(missing_here, gradient, self.smallest)
        distance = row_norm(to_face, self.smallest).flatten()
        nearer = ~look & (distance < state["distance"])
        nearest = to_face.where(per_row(nearer), state["nearest"])
        distance = distance.where(nearer, state["distance"])
        # The faces are all known: move, within the box.
        move = turn == num - 1
        change, asked = self._moved(rows, state, nearest, distance)
        last = rows.step >= self.iterations * (num + 1) - 1
        after = {
            "change": change.where(per_row(move), state["change"]),
            "asked": asked.where(per_row(move), state["asked"]),
            "nearest": nearest,
            "distance": torch.full_like(distance, torch.inf).where(move, distance),
        }
        return Stepped(after, done=look & (missing < 0) | last | (move & (distance == torch.inf)))

    def _moved(
        self, rows: Rows, state: State, nearest: Tensor, distance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The change after the step, and the picture of whole levels just beyond it."""
        far_enough = nearest * per_row((_SHORTEST / distance).clamp_min(1.0))
        change = (rows.clean + state["change"] + far_enough).clamp(0, 1) - rows.clean
        stretched = rows.clean + (1 + self.overshoot) * change
        return change, on_lattice(stretched, rows.clean, self.smallest)

    def _rivals(self, rows: Rows) -> Tensor:
        """The wrong classes that are looked at, most likely first, int64 ``[N, num]``."""
        return rows.rivals[:, : self.classes]


def to_hyperplane(missing: Tensor, gradient: Tensor, norm: Norm) -> Tensor:
    """The smallest r with ``missing + <gradient, r> = 0``: sections 3.1 (L2) and 3.3 (L∞).

    Args:
        missing: ``[N]``.
        gradient: ``[N, C, H, W]``; a row of zeros gives infinities.
        norm: L2 or L∞; the distance is ``|missing|`` over the dual norm of the gradient.
    """
    match norm:
        case Norm.L2:
            squared = row_dot(gradient, gradient)
            step = -per_row(missing / squared) * gradient
        case Norm.LINF:
            step = -per_row(missing) / row_norm(gradient, Norm.L1) * gradient.sign()
        case Norm.L1:
            raise ValueError("steps to a hyperplane are for l2 and linf, not for l1")
        case _:
            assert_never(norm)
    return step.nan_to_num(nan=torch.inf)


def _missing(logits: Tensor, label: Tensor, rival: Tensor, look: Tensor) -> Tensor:
    """`gap` to one rival or, for a look, to the strongest."""
    pair = logits.gather(1, torch.stack((label, rival), dim=1))
    return torch.where(look, gap(logits, label), MARGIN + pair[:, 0] - pair[:, 1])


DEEPFOOL = AttackEntry("deepfool", lambda s: DeepFool(s.norm, s.steps), steps=50, bounded=False)
