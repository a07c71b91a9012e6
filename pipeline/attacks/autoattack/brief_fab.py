"""FAB that leaves a row towards whose border it does not come near soon."""

from dataclasses import dataclass, replace
from typing import assert_never

from torch import Tensor

from pipeline.attacks.base import Norm, Queries, Rows, State, Stepped
from pipeline.attacks.methods.fab import FabTargeted

_FIRST = 3  # the walk's first points say little


@dataclass(frozen=True)
class BriefFab(FabTargeted):
    """`FabTargeted` that gives up restarts.

    A restart is given up after iteration k, from 3 on, unless it has reached a wrong answer within
    ``1 + 12 / k`` times the radius (L∞), or ``1 + 350 / k²`` times (L2), where the walk starts
    further out and comes in.

    The walk comes near the border soon and then creeps along it: most restarts are far away then
    and stay so. The rule looks at nothing but the row itself.

    Measured on a trained network (Fashion-MNIST) towards nine classes. 25 levels in L∞, 756 rows
    that withstood Auto-PGD on the cross-entropy: 57 iterations a row instead of 900, and the 11
    rows that break in 900 break here too; with 8 in place of 12, two of them are lost. 300 levels
    in L2, 27 rows: 8 break in 677 iterations a row, and here in 125; the rule for L∞ loses 7.
    """

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """One iteration of each row, and an end for those without hope."""
        stepped = super().step(rows, state, queries)
        reach = self.ball.eps * self.reach(rows.step)
        far = (rows.step >= _FIRST) & (stepped.state["nearest"] > reach)
        return replace(stepped, done=far | stepped.done)

    def reach(self, step: Tensor) -> Tensor:
        """How far away a wrong answer may be after a step, in radii; int64 ``[N]`` to ``[N]``."""
        k = step.clamp_min(1).float()
        match self.ball.norm:
            case Norm.LINF:
                return 1 + 12 / k
            case Norm.L2:
                return 1 + 350 / k**2
            case Norm.L1:
                raise ValueError("the rule was measured in linf and l2, not in l1")
            case _:
                assert_never(self.ball.norm)
