"""Square attack, which needs no gradient: Andriushchenko, Croce, Flammarion and Hein, "Square
attack: a query-efficient black-box adversarial attack via random search", 2019 (arXiv 1912.00049),
section 3.2 (L∞)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks import losses
from pipeline.attacks.ball import Ball
from pipeline.attacks.base import Norm, Queries, Rows, State, per_row
from pipeline.errors import UserError

# Of 10,000 queries: from these on the squares' area is halved once more.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(frozen=True)
class Square:
    """Random squares in which every value goes to one end of the ball, kept where they help.

    Where it breaks what gradients do not, the gradients are masked.

    Attributes:
        ball: L∞.
        steps: squares tried, below 16,384; the queries are fewer.
        share: part of the picture that the first squares cover.
    """

    ball: Ball
    steps: int = 5000
    share: float = 0.8
    restarts: int = 1
    smallest: None = None

    def __post_init__(self) -> None:
        if self.ball.norm is not Norm.LINF:
            raise UserError(f"square is for the norm linf, not {self.ball.norm.value}; use pgd")

    @property
    def num_steps(self) -> int:
        """The first step is a look at the stripes."""
        return self.steps

    def begin(self, rows: Rows) -> State:
        """Vertical stripes, each at one end of the ball."""
        _, channels, _, width = rows.clean.shape
        stripes = self.ball.eps * _signs(rows.uniform(0, (channels, 1, width)))
        point = self.ball.project(rows.clean + stripes, rows.clean)
        return {"point": point, "loss": rows.clean.new_full(rows.label.shape, -torch.inf)}

    def step(self, rows: Rows, state: State, queries: Queries) -> State:
        """Asks about each row with one more square, and keeps it where the margin grew.

        A square that changes nothing spends its step without a question: the margin would be the
        same. On pictures with one channel that is every second of the small squares.
        """
        changed = self.ball.snap(self._with_square(rows, state["point"]), rows.clean)
        new = (changed != state["point"]).flatten(1).any(dim=1) | (rows.step == 0)
        found = losses.margin(queries.logits(changed, asked=new), rows.label)
        better = new & (found > state["loss"])
        return {
            "point": changed.where(per_row(better), state["point"]),
            "loss": found.where(better, state["loss"]),
        }

    def _with_square(self, rows: Rows, point: Tensor) -> Tensor:
        _, channels, height, width = rows.clean.shape
        side = self._sides(rows, height, width)
        # Numbers 0 and 1 were drawn at the beginning; a step takes one of its own.
        drawn = rows.uniform(rows.step + 1, (channels + 2,))
        top = (drawn[:, 0] * (height - side + 1)).long()
        left = (drawn[:, 1] * (width - side + 1)).long()
        y = torch.arange(height, device=point.device)[None, :, None]
        x = torch.arange(width, device=point.device)[None, None, :]
        top, left, side = (v.reshape(-1, 1, 1) for v in (top, left, side))
        inside = (y >= top) & (y < top + side) & (x >= left) & (x < left + side)
        inside = inside & (rows.step > 0).reshape(-1, 1, 1)
        sign = _signs(drawn[:, 2:]).reshape(-1, channels, 1, 1)
        there = self.ball.project(rows.clean + self.ball.eps * sign, rows.clean)
        return there.where(inside[:, None], point)

    def _sides(self, rows: Rows, height: int, width: int) -> Tensor:
        """Each row's square: its side in pixels, int64 ``[N]``."""
        of_10_000 = rows.step * 10_000 // self.steps
        halvings = sum((of_10_000 > at).long() for at in _HALVINGS)
        area = self.share * 0.5 ** torch.as_tensor(halvings).double() * height * width
        return area.sqrt().round().long().clamp(1, min(height, width))


def _signs(uniform: Tensor) -> Tensor:
    return torch.where(uniform < 0.5, -1.0, 1.0)
