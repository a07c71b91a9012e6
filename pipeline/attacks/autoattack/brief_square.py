"""Square attack that leaves a row as soon as its progress cannot take it to the border any more."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.base import Queries, Rows, State, Stepped
from pipeline.attacks.methods.square import Square
from pipeline.attacks.methods.square_l2 import SquareL2

_FIRST = 256  # the first look's step; the next ones come after twice as many each
_SLACK = 1.5


@dataclass(frozen=True)
class BriefSquare(Square):
    """`Square` that gives up rows after steps 256, 512, 1024 and so on.

    A row is given up if its margin would stay below 0 even if each further doubling of the steps
    raised it by 1.5 times as much as the last doubling.

    Random search improves by ever rarer finds, so the margin rises about as the logarithm of the
    steps. The rule looks at nothing but the row itself.

    Measured on 756 rows of a trained network that withstood Auto-PGD on the cross-entropy
    (Fashion-MNIST, 25 levels in L∞): 347 steps a row instead of 5,000; of the 12 rows that break
    in 5,000 the 4 that gradients do not break break here too, and 6 of the others.
    """

    def begin(self, rows: Rows) -> State:
        """As without the rule, and the margin at the last look."""
        state = super().begin(rows)
        return {**state, "then": state["loss"]}

    def until(self, rows: Rows) -> Tensor:
        """The step after the next look, so that no step beyond it is taken ahead."""
        looks = self._looks(rows)
        at = torch.searchsorted(looks, rows.step)
        ends = torch.cat((looks, looks.new_tensor([self.steps - 1])))
        return ends[at].clamp_max(self.steps - 1) + 1

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """Some squares, and at a look an end for rows without hope."""
        stepped = super().step(rows, state, queries)
        s, taken = stepped.state, stepped.taken
        last, looks = rows.step + taken - 1, self._looks(rows)
        look = torch.isin(last, looks)
        doublings = torch.log2(self.steps / last.clamp_min(1).double()).to(s["loss"].dtype)
        reach = s["loss"] + _SLACK * (s["loss"] - state["then"]) * doublings
        s["then"] = s["loss"].where(look, state["then"])
        return Stepped(s, done=look & (last >= _FIRST) & (reach <= 0), taken=taken)

    def _looks(self, rows: Rows) -> Tensor:
        """The steps after which the margin is noted; after all but the first, rows may leave."""
        looks, at = [], _FIRST // 2
        while at < self.steps:
            looks.append(at)
            at *= 2
        return torch.tensor(looks, dtype=torch.int64, device=rows.step.device)


@dataclass(frozen=True)
class BriefSquareL2(BriefSquare, SquareL2):
    """`SquareL2` with the rule of `BriefSquare`."""
