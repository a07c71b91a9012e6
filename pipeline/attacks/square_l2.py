"""Square attack in L2: Andriushchenko, Croce, Flammarion and Hein, "Square attack: a
query-efficient black-box adversarial attack via random search", 2019 (arXiv 1912.00049), section
3.3 and algorithm 3."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.base import Norm, Rows, row_norm
from pipeline.attacks.square import Square
from pipeline.errors import UserError

_TILES = 5  # along each side of the first picture
_TINY = 1e-12


@dataclass(frozen=True)
class SquareL2(Square):
    """Random windows that take over the change of another window, kept where they help.

    A step empties one window, and gives its length, with what the ball has to spare, to another
    one: there a bump of two signs is added to the change's direction. So the change is always about
    as long as the radius, and ever less spread out. Steps, schedule and the first windows' share
    are those of `Square`, as in AutoAttack; a window's side is odd and at least 3.

    Attributes:
        ball: L2.
        steps, share: see `Square`.
    """

    def __post_init__(self) -> None:
        if self.ball.norm is not Norm.L2:
            raise UserError(f"square_l2 is for the norm l2, not {self.ball.norm.value}; use pgd")

    def first(self, rows: Rows) -> Tensor:
        """Tiles of bumps, 5 along each side, with a sign each, as long as the radius."""
        _, channels, height, width = rows.clean.shape
        side = max(1, min(height, width) // _TILES)
        down, across = min(_TILES, height // side), min(_TILES, width // side)
        sign = _signs(rows.uniform(0, (channels, down, across)))
        tiles = sign.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
        bumps = two_bumps(side).to(rows.clean.device).repeat(down, across)
        change = torch.zeros_like(rows.clean)
        top, left = (height - down * side) // 2, (width - across * side) // 2
        change[:, :, top : top + down * side, left : left + across * side] = tiles * bumps
        change = self.ball.eps * change / row_norm(change, Norm.L2).clamp_min(_TINY)
        return self.ball.project(rows.clean + change, rows.clean)

    def drawn_a_step(self, rows: Rows) -> int:
        """Two corners, a turn, and a sign a channel."""
        return rows.clean.shape[1] + 5

    def moved(
        self, rows: Rows, point: Tensor, of: Tensor, step: Tensor, drawn: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Points with one window moved each, on the lattice."""
        old, clean = point[of], rows.clean[of]
        moved = old.clone()
        sides = self._odd_sides(step, clean)
        for side in sides[step > 0].unique().tolist():
            at = ((sides == side) & (step > 0)).nonzero().flatten()
            change = self._with_window(old[at] - clean[at], drawn[at], side)
            moved[at] = self.ball.project(clean[at] + change, clean[at])
        moved = self.ball.snap(moved, clean)
        changed = wanted & ((step == 0) | (moved != old).flatten(1).any(dim=1))
        return changed, moved[changed]

    def _odd_sides(self, step: Tensor, like: Tensor) -> Tensor:
        """The sides of the windows of some steps, in pixels, int64 ``[M]``."""
        height, width = like.shape[2:]
        side = self._sides(step, height, width).clamp_min(3)
        least = min(height, width)
        return (side + (side % 2 == 0)).clamp_max(least - (least % 2 == 0) if least > 2 else least)

    def _with_window(self, change: Tensor, drawn: Tensor, side: int) -> Tensor:
        """Algorithm 3: changes ``[G, C, H, W]`` with one window emptied and another one bumped."""
        num, channels, height, width = change.shape
        inside, rows_of, columns_of = [], [], []
        for corner in (drawn[:, 0:2], drawn[:, 2:4]):
            top = (corner[:, 0] * (height - side + 1)).long()[:, None]
            left = (corner[:, 1] * (width - side + 1)).long()[:, None]
            y, x = (torch.arange(size, device=change.device) for size in (height, width))
            down, across = (y >= top) & (y < top + side), (x >= left) & (x < left + side)
            inside.append(down[:, None, :, None] & across[:, None, None, :])
            rows_of.append(top + torch.arange(side, device=change.device))
            columns_of.append(left + torch.arange(side, device=change.device))
        here = (
            torch.arange(num, device=change.device)[:, None, None, None],
            torch.arange(channels, device=change.device)[None, :, None, None],
            rows_of[0][:, None, :, None],
            columns_of[0][:, None, None, :],
        )
        bumps = two_bumps(side).to(change.device)
        turned = (drawn[:, 4] < 0.5)[:, None, None, None]
        bumps = torch.where(turned, bumps.T, bumps) / bumps.norm()
        old = change[here]
        added = _signs(drawn[:, 5:])[:, :, None, None] * bumps
        direction = added + old / _length(old).clamp_min(_TINY)
        spare = (self.ball.eps**2 - row_norm(change, Norm.L2) ** 2).clamp_min(0.0)
        both = _length(change * (inside[0] | inside[1]))
        available = (both**2 + spare / channels).sqrt()
        moved = change.masked_fill(inside[1], 0.0)
        moved[here] = direction / _length(direction).clamp_min(_TINY) * available
        return moved


def two_bumps(side: int) -> Tensor:
    """The window of equation 2, ``[side, side]``: a bump beside a negative one of the other half.

    In a bump of h1 by h2 pixels the value at r, s, counted from 1, is ``Σ_{k=0}^{M} 1 / (n+1-k)²``
    with n = ⌊h1 / 2⌋ and ``M = n - max(|r - ⌊h1/2⌋ - 1|, |s - ⌊h2/2⌋ - 1|)``: it falls off from
    the middle outwards.
    """
    half = side // 2
    if half == 0:
        return torch.ones(side, side)
    return torch.cat((_bump(side, half), -_bump(side, side - half)), dim=1)


def _bump(high: int, wide: int) -> Tensor:
    n = high // 2
    r = (torch.arange(1, high + 1) - high // 2 - 1).abs()[:, None]
    s = (torch.arange(1, wide + 1) - wide // 2 - 1).abs()[None, :]
    last = n - torch.maximum(r, s)
    sums = torch.cumsum(1 / (n + 1 - torch.arange(n + 1).double()) ** 2, dim=0)
    return sums[last].float()


def _length(windows: Tensor) -> Tensor:
    """The L2 norm of each channel's window of ``[G, C, h, w]``, ``[G, C, 1, 1]``."""
    num, channels = windows.shape[:2]
    flat = windows.reshape(num * channels, 1, *windows.shape[2:])
    return row_norm(flat, Norm.L2).reshape(num, channels, 1, 1)


def _signs(uniform: Tensor) -> Tensor:
    return torch.where(uniform < 0.5, -1.0, 1.0)
