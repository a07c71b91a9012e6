"""Planes through pictures, with lengths in L2 along both axes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.boundary.directions import random_directions
from pipeline.errors import UserError

# Of a picture's length: a third picture that is no farther from the line of the two others.
_FLAT = 1e-4


@dataclass(frozen=True)
class Plane:
    """The pictures ``origin + a across + b up``.

    Attributes:
        origin: float64 ``[C, H, W]``.
        across, up: float64 ``[C, H, W]``, of length 1 and orthogonal.
    """

    origin: Tensor
    across: Tensor
    up: Tensor

    def points(self, a: Tensor, b: Tensor) -> Tensor:
        """The pictures at coordinates ``[N]`` and ``[N]``, float32 ``[N, C, H, W]``."""
        flat = torch.outer(a.double(), self.across.flatten())
        flat += torch.outer(b.double(), self.up.flatten())
        return (self.origin.flatten() + flat).float().reshape(-1, *self.origin.shape)

    def coordinates(self, x: Tensor) -> tuple[float, float]:
        """Where the point of the plane that is nearest to a picture ``[C, H, W]`` lies."""
        way = (x.double() - self.origin).flatten()
        return float(way @ self.across.flatten()), float(way @ self.up.flatten())


def plane_along(origin: Tensor, direction: Tensor, *, seed: int, row: int) -> Plane:
    """The plane of a direction and a random one, keyed by seed and row, orthogonal to it.

    Args:
        origin: the picture ``[C, H, W]``.
        direction: ``[C, H, W]``, not 0; becomes ``across``.
        seed, row: key the random direction.

    Raises:
        ValueError: the direction has no length, or the picture one value alone.
    """
    if origin.numel() < 2:
        raise ValueError("a picture of one value has no plane")
    random = random_directions(seed, torch.tensor([row]), 1, tuple(origin.shape))[0, 0]
    return _plane(origin, direction, random)


def plane_through(first: Tensor, second: Tensor, third: Tensor) -> Plane:
    """The plane through three pictures ``[C, H, W]``: first at (0, 0), second at (a, 0), a > 0.

    Raises:
        UserError: the pictures lie on a line.
    """
    try:
        return _plane(first, second.double() - first.double(), third.double() - first.double())
    except ValueError:
        raise UserError(
            "the three pictures lie on one line, or two of them are the same: they span no plane; "
            "choose others"
        ) from None


def _plane(origin: Tensor, along: Tensor, aside: Tensor) -> Plane:
    """Gram and Schmidt's, in float64; ValueError where the two directions span no plane."""
    across = along.double() / along.double().norm()
    rest = aside.double()
    for _ in range(2):  # once more takes off what rounding left
        rest = rest - (rest * across).sum() * across
    if not bool(rest.norm() > _FLAT * aside.double().norm()) or not bool(across.isfinite().all()):
        raise ValueError("the directions span no plane")
    return Plane(origin.double(), across, rest / rest.norm())
