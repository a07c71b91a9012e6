"""Square attack, which needs no gradient.

Andriushchenko, Croce, Flammarion and Hein, "Square attack: a query-efficient black-box adversarial
attack via random search", 2019 (arXiv 1912.00049), section 3.2 (L∞).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.base import Norm, Queries, Rows, State, Stepped
from pipeline.attacks.geometry.ball import Ball
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

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """Asks about each row with one more square, and keeps it where the margin grew.

        A square that changes nothing spends its step without a question: the margin would be the
        same. On pictures with one channel that is every second of the small squares. Most squares
        are not kept, so where few rows are left the next ones are tried on the same point at once.
        """
        num, several = len(rows.step), min(queries.ahead, _MOST_AHEAD)
        each = torch.arange(several, device=rows.step.device)
        state = {**state, **self._drawn(rows, state, several)}
        since = rows.step - state["drawn_from"]
        of = torch.arange(num, device=since.device).repeat_interleave(several)
        drawn = state["drawn"][of, (since[:, None] + each).flatten()]
        step = (rows.step[:, None] + each).flatten()
        left = step < self.until(rows)[of]
        asked, changed = self.moved(rows, state["point"], of, step, drawn, left)
        improved, number, margin, better = queries.first_above(
            changed, state["loss"], asked=asked.reshape(num, several)
        )
        after = {
            **state,
            "point": state["point"].index_copy(0, improved, better),
            "loss": state["loss"].index_copy(0, improved, margin),
        }
        tried = left.reshape(num, several).sum(dim=1)
        return Stepped(after, taken=tried.index_copy(0, improved, number + 1))

    def until(self, rows: Rows) -> Tensor:
        """The step before which each row stops to look, int64 ``[N]``."""
        return torch.full_like(rows.step, self.steps)

    def moved(
        self, rows: Rows, point: Tensor, of: Tensor, step: Tensor, drawn: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Points with one more square each, on the lattice.

        Args:
            point: ``[N, C, H, W]``, of the rows.
            of, step: int64 ``[M]``: whose point each square changes, and the step that it is of.
            drawn: ``[M, D]``, with as many numbers as `drawn_a_step` says.
            wanted: bool ``[M]``: a square without is left out.

        Returns:
            Which squares change their point, or are its first look, bool ``[M]``; and the points
            of these, ``[changed.sum(), C, H, W]``.
        """
        channels, height, width = point.shape[1:]
        side = self._sides(step, height, width)
        top = (drawn[:, 0] * (height - side + 1)).long()
        start = (drawn[:, 1] * (width - side + 1)).long()
        # The square's values alone: late squares have a hundredth of the picture's. Smaller squares
        # than the largest have their first line again instead.
        offset = torch.arange(int(side.max()), device=side.device)
        y = (top[:, None] + offset).where(offset < side[:, None], top[:, None])
        x = (start[:, None] + offset).where(offset < side[:, None], start[:, None])
        pixel = (y[:, :, None] * width + x[:, None, :]).flatten(1)
        channel = torch.arange(channels, device=side.device)[:, None]
        place = (of[:, None, None] * channels + channel) * (height * width) + pixel[:, None, :]
        now = point.reshape(-1)[place]
        corner = self.ball.corner(rows.clean.reshape(-1)[place], _signs(drawn[:, 2:, None]))
        first = step == 0  # a look at the stripes
        corner = now.where(first[:, None, None], corner)
        changed = wanted & (first | (corner != now).flatten(1).any(dim=1))
        at = changed.nonzero().flatten()
        moved = point[of[at]]
        inside = pixel[at][:, None, :].expand(-1, channels, -1)
        moved.flatten(2).scatter_(2, inside, corner[at])
        return changed, moved

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

    def _sides(self, step: Tensor, height: int, width: int) -> Tensor:
        """The sides of the squares of some steps, in pixels, int64 ``[M]``."""
        of_10_000 = step * 10_000 // self.steps
        halvings = torch.searchsorted(of_10_000.new_tensor(_HALVINGS), of_10_000)
        area = self.share * 0.5 ** halvings.double() * height * width
        return area.sqrt().round().long().clamp(1, min(height, width))


def _signs(uniform: Tensor) -> Tensor:
    return torch.where(uniform < 0.5, -1.0, 1.0)
