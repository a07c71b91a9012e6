"""How far it is to where the answer changes, along straight lines or within the box."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_BISECTIONS_IN_BOX = 60  # float64 has no more to give
_STILL = 1e-9  # of a direction of length 1: a value so slow is taken as one that does not move


class Path(Protocol):
    """N ways that start at pictures."""

    def at(self, lines: Tensor, length: Tensor) -> Tensor:
        """The pictures so far along some of the ways, float32 ``[M, C, H, W]``.

        Args:
            lines: int64 ``[M]``, which ways.
            length: float64 ``[M]``, L2.
        """

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Straight:
    """The lines ``x + t u``, which may leave the box: ``[N, C, H, W]`` both, u of length 1."""

    x: Tensor
    direction: Tensor

    def at(self, lines: Tensor, length: Tensor) -> Tensor:
        t = length.double().reshape(-1, 1, 1, 1)
        return (self.x[lines].double() + t * self.direction[lines].double()).float()

    def __len__(self) -> int:
        return self.x.shape[0]


@dataclass(frozen=True)
class InBox:
    """The ways ``clip(x + s u)``, measured by the length of the change that the box has left.

    ``||clip(x + s u) - x||`` never falls as s rises, so s is found by bisection. A way ends where
    the box lets no value go on: a length beyond its end gives its end.
    """

    x: Tensor
    direction: Tensor

    def at(self, lines: Tensor, length: Tensor) -> Tensor:
        x = self.x[lines].double().flatten(1)
        u = self.direction[lines].double().flatten(1)
        room = torch.where(u > 0, 1 - x, x)  # that each value has on its side
        speed = u.abs()
        wanted = length.double()
        least = speed.where(speed > _STILL, torch.inf).amin(dim=1)
        low, high = torch.zeros_like(wanted), (1 / least).nan_to_num(posinf=0.0)
        for _ in range(_BISECTIONS_IN_BOX):
            s = (low + high) / 2
            short = torch.minimum(s[:, None] * speed, room).norm(dim=1) < wanted
            low, high = torch.where(short, s, low), torch.where(short, high, s)
        moved = torch.minimum(high[:, None] * speed, room) * u.sign()
        return (x + moved).clamp(0, 1).float().reshape(-1, *self.x.shape[1:])

    def __len__(self) -> int:
        return self.x.shape[0]


@dataclass(frozen=True)
class Crossings:
    """Where N ways leave the region of their start.

    Attributes:
        distance: float64 ``[N]``, L2: there the answer is another, and closer by at most the
            tolerance it is not. inf where none was met.
        beyond: int64 ``[N]``, the class that is answered there; -1 where none was met.
    """

    distance: Tensor
    beyond: Tensor


def first_crossings(
    answer: Callable[[Tensor, Tensor], Tensor],
    path: Path,
    own: Tensor,
    *,
    near: float,
    far: float,
    growth: float = 1.15,
    tolerance: float = 1e-3,
    fill: int = 1,
) -> Crossings:
    """Walks each way until the answer changes, and then bisects.

    The walk looks at lengths near, near · growth, near · growth², …, far. A strip of another class
    that lies wholly between two of these is passed over: so a distance is exact along a way that
    leaves its region once, and else an upper bound.

    Args:
        answer: pictures ``[M, C, H, W]`` and which ways they are on, int64 ``[M]``, to classes.
        path: N ways.
        own: int64 ``[N]``, the class at each start.
        near, far: the first and the last length that is looked at, 0 < near < far.
        growth: above 1.
        tolerance: how well a crossing is bracketed, as a share of its distance.
        fill: pictures that are worth asking about at once: few lines are walked several lengths at
            a time. Changes no distance.
    """
    if not (0 < near < far and growth > 1 and tolerance > 0):
        raise ValueError("0 < near < far, growth > 1 and tolerance > 0 must hold")
    own = own.cpu()
    num = len(path)
    inside = torch.zeros(num, dtype=torch.float64)
    outside = torch.full((num,), torch.inf, dtype=torch.float64)
    beyond = torch.full((num,), -1, dtype=torch.int64)

    def look(lines: Tensor, length: Tensor) -> None:
        """Asks at these lengths, rising for each line, and narrows the brackets."""
        classes = answer(path.at(lines, length), lines).cpu()
        for line, t, found in zip(lines.tolist(), length.tolist(), classes.tolist(), strict=True):
            if found != own[line]:
                if t < outside[line]:
                    outside[line], beyond[line] = t, found
            elif t < outside[line]:
                inside[line] = t

    steps = math.ceil(math.log(far / near) / math.log(growth))
    lengths = torch.tensor([*(near * growth**k for k in range(steps)), far], dtype=torch.float64)
    at = 0
    while at < len(lengths):
        walking = outside.isinf().nonzero().flatten()
        if not len(walking):
            break
        part = lengths[at : at + max(1, fill // len(walking))]
        look(walking.repeat(len(part)), part.repeat_interleave(len(walking)))
        at += len(part)
    while True:
        wide = ((outside - inside) > tolerance * outside) & outside.isfinite()
        lines = wide.nonzero().flatten()
        if not len(lines):
            return Crossings(outside, beyond)
        look(lines, (inside[lines] + outside[lines]) / 2)
