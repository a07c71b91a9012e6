"""Which class each point of a plane is given."""

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.boundary.plane import Plane
from pipeline.boundary.rule import Decide


@dataclass(frozen=True)
class Window:
    """The part of a plane that a map shows.

    Attributes:
        left, right, bottom, top: coordinates of its edges, L2.
        points: points along each side, at least 2; the edges are among them.
    """

    left: float
    right: float
    bottom: float
    top: float
    points: int

    @classmethod
    def around_origin(cls, reach: float, points: int) -> "Window":
        """A square with the origin in its middle and edges ``reach`` away."""
        return cls(-reach, reach, -reach, reach, points)

    @property
    def across(self) -> np.ndarray:
        """float64 ``[G]``, rising."""
        return np.linspace(self.left, self.right, self.points)

    @property
    def up(self) -> np.ndarray:
        """float64 ``[G]``, rising."""
        return np.linspace(self.bottom, self.top, self.points)


@dataclass(frozen=True)
class DecisionMap:
    """The classes that a rule answers on a plane.

    Attributes:
        across, up: float64 ``[G]``: the coordinates, L2.
        classes: int64 ``[G, G]``: of ``(up, across)``.
    """

    across: np.ndarray
    up: np.ndarray
    classes: np.ndarray

    def share_of(self, label: int) -> float:
        """The share of the points that get a class."""
        return float((self.classes == label).mean())

    def nearest_other(self, label: int) -> float:
        """How far from the origin the nearest point with another class lies; inf without one.

        As exact as the points are dense.
        """
        length = np.hypot(self.up[:, None], self.across[None, :])
        return float(length[self.classes != label].min(initial=np.inf))


def decision_map(decide: Decide, plane: Plane, window: Window, row: int) -> DecisionMap:
    """Asks a rule about every point of the window.

    Args:
        row: the number of the row that the plane goes through, which keys what the rule draws:
            all points of a map meet the same draws, so no speckle comes of them.
    """
    across, up = torch.from_numpy(window.across), torch.from_numpy(window.up)
    a, b = across.repeat(window.points), up.repeat_interleave(window.points)
    points = plane.points(a, b)
    classes = decide(points, torch.full((len(points),), row, dtype=torch.int64))
    shape = (window.points, window.points)
    return DecisionMap(window.across, window.up, classes.cpu().numpy().reshape(shape))
