"""Auto-PGD that leaves a row as soon as its progress cannot take it to the border any more."""

from dataclasses import dataclass

from pipeline.attacks.base import Queries, Rows, State, Stepped
from pipeline.attacks.methods.apgd import Apgd

_SLACK = 2.0


@dataclass(frozen=True)
class BriefApgd(Apgd):
    """`Apgd` that gives up rows at its checkpoints.

    A row is given up if its loss would stay below 0 even if it rose, until the last step, twice as
    fast as since the checkpoint before.

    All of Auto-PGD's losses are positive wherever the answer is wrong, and progress mostly slows
    down from one checkpoint to the next. The rule looks at nothing but the row itself. A restart
    that is given up makes room for the row's next one.

    Measured on 756 rows of a trained network that withstood the cross-entropy (Fashion-MNIST, 25
    levels in L∞): towards nine classes each 244 gradients a row instead of 900, and 14 of the 15
    rows that break in 900 break here too; at the same speed instead of twice, 213 gradients and 11.
    """

    def begin(self, rows: Rows) -> State:
        """As `Apgd`, and the loss at the last checkpoint."""
        state = super().begin(rows)
        return {**state, "loss_then": state["best_loss"]}

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """One step of each row, and at a checkpoint an end for those without hope."""
        s = super().step(rows, state, queries).state
        best, then = s["best_loss"], s["best_loss"].where(rows.step == 0, s["loss_then"])
        since = self._since_last_look(rows)
        speed = (best - then) / since.clamp_min(1)
        reach = best + _SLACK * speed * (self.steps - rows.step)
        s["loss_then"] = best.where(since > 0, then)
        return Stepped(s, done=(since > 0) & (reach <= 0))
