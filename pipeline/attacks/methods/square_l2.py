"""Square attack in L2.

Andriushchenko, Croce, Flammarion and Hein, "Square attack: a query-efficient black-box adversarial
attack via random search", 2019 (arXiv 1912.00049), section 3.3 and algorithm 3.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pipeline.attacks.base import Norm, Rows, row_norm
from pipeline.attacks.methods.square import Square
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

    norm: ClassVar[Norm] = Norm.L2
    fall_off: ClassVar[int] = 2  # the power by which bumps are lower further from their middle

    def __post_init__(self) -> None:
        if self.ball.norm is not self.norm:
            what = f"square_{self.norm.value} is for the norm {self.norm.value}"
            raise UserError(f"{what}, not {self.ball.norm.value}; use pgd")

    def first(self, rows: Rows) -> Tensor:
        """Tiles of bumps, 5 along each side, with a sign each, as long as the radius."""
        _, channels, height, width = rows.clean.shape
        side = max(1, min(height, width) // _TILES)
        down, across = min(_TILES, height // side), min(_TILES, width // side)
        sign = _signs(rows.uniform(0, (channels, down, across)))
        tiles = sign.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
        bumps = two_bumps(side, self.fall_off).to(rows.clean.device).repeat(down, across)
        change = torch.zeros_like(rows.clean)
        top, left = (height - down * side) // 2, (width - across * side) // 2
        change[:, :, top : top + down * side, left : left + across * side] = tiles * bumps
        change = self.ball.eps * change / row_norm(change, self.norm).clamp_min(_TINY)
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
        bumps = two_bumps(side, self.fall_off).to(change.device)
        bumps = bumps / row_norm(bumps[None, None], self.norm)[0, 0]
        turned = (drawn[:, 4] < 0.5)[:, None, None, None]
        bumps = torch.where(turned, bumps.T, bumps)
        old = change[here]
        added = _signs(drawn[:, 5:])[:, :, None, None] * bumps
        direction = added + old / self._length(old).clamp_min(_TINY)
        both = self._length(change * (inside[0] | inside[1]))
        available = self.available(both, row_norm(change, self.norm))
        moved = change.masked_fill(inside[1], 0.0)
        moved[here] = direction / self._length(direction).clamp_min(_TINY) * available
        return moved

    def available(self, both: Tensor, whole: Tensor) -> Tensor:
        """How long a window becomes, ``[G, C, 1, 1]``.

        Args:
            both: ``[G, C, 1, 1]``: how long the changes in it and in the other one are together.
            whole: ``[G, 1, 1, 1]``: how long all of the change is.
        """
        spare = (self.ball.eps**2 - whole**2).clamp_min(0.0)
        return (both**2 + spare / both.shape[1]).sqrt()

    def _length(self, windows: Tensor) -> Tensor:
        """The norm of each channel's window of ``[G, C, h, w]``, ``[G, C, 1, 1]``."""
        num, channels = windows.shape[:2]
        flat = windows.reshape(num * channels, 1, *windows.shape[2:])
        return row_norm(flat, self.norm).reshape(num, channels, 1, 1)


def two_bumps(side: int, fall_off: int = 2) -> Tensor:
    """The window of equation 2, ``[side, side]``: a bump beside a negative one of the other half.

    In a bump of h1 by h2 pixels the value at r, s, counted from 1, is ``Σ_{k=0}^{M} 1 / (n+1-k)^p``
    with p the ``fall_off``, n = ⌊h1 / 2⌋ and ``M = n - max(|r - ⌊h1/2⌋ - 1|, |s - ⌊h2/2⌋ - 1|)``:
    it falls off from the middle outwards.
    """
    half = side // 2
    if half == 0:
        return torch.ones(side, side)
    left, right = (_bump(side, wide, fall_off) for wide in (half, side - half))
    return torch.cat((left, -right), dim=1)


def _bump(high: int, wide: int, fall_off: int) -> Tensor:
    n = high // 2
    r = (torch.arange(1, high + 1) - high // 2 - 1).abs()[:, None]
    s = (torch.arange(1, wide + 1) - wide // 2 - 1).abs()[None, :]
    last = n - torch.maximum(r, s)
    sums = torch.cumsum(1 / (n + 1 - torch.arange(n + 1).double()) ** fall_off, dim=0)
    return sums[last].float()


def _signs(uniform: Tensor) -> Tensor:
    return torch.where(uniform < 0.5, -1.0, 1.0)
