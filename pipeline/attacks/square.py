"""Square attack, which needs no gradient: Andriushchenko, Croce, Flammarion and Hein, "Square
attack: a query-efficient black-box adversarial attack via random search", 2019 (arXiv 1912.00049),
section 3.2 (L∞)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.ball import Ball
from pipeline.attacks.base import Norm, Queries, Rows, State, per_row
from pipeline.errors import UserError

# Of 10,000 queries: from these on the squares' area is halved once more.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
# One square in 15 is kept, on a trained network's rows that withstand: beyond it most are in vain.
_MOST_AHEAD = 16
_DRAWN_AHEAD = 64  # steps


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
        """The first picture, and nothing drawn yet for the steps."""
        nothing = rows.clean.new_zeros(len(rows.step), _DRAWN_AHEAD, self.drawn_a_step(rows))
        return {
            "point": self.first(rows),
            "loss": rows.clean.new_full(rows.label.shape, -torch.inf),
            "drawn": nothing,
            "drawn_from": torch.full_like(rows.step, -_DRAWN_AHEAD),
        }

    def first(self, rows: Rows) -> Tensor:
        """Vertical stripes, each at one end of the ball."""
        _, channels, _, width = rows.clean.shape
        return self.ball.corner(rows.clean, _signs(rows.uniform(0, (channels, 1, width))))

    def drawn_a_step(self, rows: Rows) -> int:
        """A corner, and a sign a channel."""
        return rows.clean.shape[1] + 2

    def step(self, rows: Rows, state: State, queries: Queries) -> State:
        """Asks about each row with one more square, and keeps it where the margin grew.

        A square that changes nothing spends its step without a question: the margin would be the
        same. On pictures with one channel that is every second of the small squares. Most squares
        are not kept, so where few rows are left the next ones are tried on the same point at once.
        """
        num, several = len(rows.step), min(queries.ahead, _MOST_AHEAD)
        tried, point = rows.ahead(several), state["point"]
        if several > 1:
            point = point.repeat_interleave(several, dim=0)
        state = {**state, **self._drawn(rows, state, several)}
        since = (rows.step - state["drawn_from"])[:, None]
        each = torch.arange(several, device=since.device)
        drawn = state["drawn"][torch.arange(num, device=since.device)[:, None], since + each]
        changed = self.moved(tried, point, drawn.flatten(0, 1))
        new = (changed != point).flatten(1).any(dim=1) | (tried.step == 0)
        left = tried.step.reshape(num, several) < self.until(rows)[:, None]
        changed = changed.reshape(num, several, *changed.shape[1:])
        better, number, margin = queries.first_above(
            changed, state["loss"], asked=new.reshape(num, several) & left
        )
        found = changed[torch.arange(num, device=number.device), number]
        return {
            **state,
            "point": found.where(per_row(better), state["point"]),
            "loss": margin.where(better, state["loss"]),
            "taken": (number + 1).where(better, left.sum(dim=1)),
        }

    def until(self, rows: Rows) -> Tensor:
        """The step before which each row stops to look, int64 ``[N]``."""
        return torch.full_like(rows.step, self.steps)

    def moved(self, rows: Rows, point: Tensor, drawn: Tensor) -> Tensor:
        """Each row's point with one more square, on the lattice.

        Args:
            drawn: for each row as many numbers as `drawn_a_step` says.
        """
        height, width = rows.clean.shape[2:]
        side = self._sides(rows, height, width)
        top = (drawn[:, 0] * (height - side + 1)).long()
        left = (drawn[:, 1] * (width - side + 1)).long()
        side = side.where(rows.step > 0, 0)  # the first step is a look at the stripes
        y, x = _between(top, side, height), _between(left, side, width)
        inside = y[:, None, :, None] & x[:, None, None, :]
        corner = self.ball.corner(rows.clean, _signs(drawn[:, 2:, None, None]))
        return corner.where(inside, point)

    def _drawn(self, rows: Rows, state: State, several: int) -> State:
        """The state's draws, made anew for rows that have too few left for so many steps.

        To draw for many steps at once costs little more than for one of them.
        """
        few = rows.step + several > state["drawn_from"] + _DRAWN_AHEAD
        at = few.nonzero().flatten()
        if not len(at):
            return {}
        step = rows.step[at]
        # Numbers 0 and 1 were drawn at the beginning; a step takes one of its own.
        number = step[:, None] + torch.arange(1, _DRAWN_AHEAD + 1, device=step.device)
        drawn = rows.pick(at).uniform(number.clamp_max(self.steps), (self.drawn_a_step(rows),))
        return {
            "drawn": state["drawn"].index_copy(0, at, drawn),
            "drawn_from": state["drawn_from"].index_copy(0, at, step),
        }

    def _sides(self, rows: Rows, height: int, width: int) -> Tensor:
        """Each row's square: its side in pixels, int64 ``[N]``."""
        of_10_000 = rows.step * 10_000 // self.steps
        halvings = torch.searchsorted(of_10_000.new_tensor(_HALVINGS), of_10_000)
        area = self.share * 0.5 ** halvings.double() * height * width
        return area.sqrt().round().long().clamp(1, min(height, width))


def _between(first: Tensor, count: Tensor, size: int) -> Tensor:
    """Which of ``size`` places are among the ``count`` from the first on, bool ``[N, size]``."""
    place = torch.arange(size, device=first.device)
    return (place >= first[:, None]) & (place < (first + count)[:, None])


def _signs(uniform: Tensor) -> Tensor:
    return torch.where(uniform < 0.5, -1.0, 1.0)
