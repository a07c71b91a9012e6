"""A classifier as its boundary is looked at: how it answers, and which way its answer changes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.base import Model
from pipeline.errors import UserError
from pipeline.fixed_batch import in_fixed_batches

# Pictures [N, C, H, W] and the numbers of the rows that they stem from, int64 [N], to classes [N].
Decide = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DecisionRule:
    """A classifier as its boundary is looked at.

    Attributes:
        decide: float32 pictures ``[N, C, H, W]``, of any values, and the row numbers int64 ``[N]``
            that key what is drawn, to the class of each, int64 ``[N]``.
        logits: pictures to logits ``[N, K]`` with a gradient, whose highest is the answer or, of a
            rule that votes, stands for it; None where there is no gradient.
        rows_per_call: pictures in a call of ``logits``.
        fill: pictures that ``decide`` is best asked about at once, at least.
    """

    decide: Decide
    logits: Model | None
    rows_per_call: int
    fill: int

    @classmethod
    def of_logits(cls, model: Model, rows_per_call: int) -> "DecisionRule":
        """The rule that answers with the class of the highest logit."""

        def decide(x: Tensor, rows: Tensor) -> Tensor:
            return finite(asked(model, x, rows_per_call), rows).argmax(dim=1).cpu()

        return cls(decide, model, rows_per_call, fill=rows_per_call)


def asked(model: Model, x: Tensor, rows_per_call: int) -> Tensor:
    """A model's logits ``[N, K]`` for N >= 1 pictures, in calls of a fixed size, no gradient."""
    with torch.no_grad():
        return in_fixed_batches(model, x, rows_per_call=rows_per_call)


def finite(logits: Tensor, rows: Tensor) -> Tensor:
    """The logits ``[N, K]``; UserError where one is no finite number."""
    good = logits.isfinite().all(dim=1)
    if not bool(good.all()):
        row = int(rows[~good.cpu()][0])
        raise UserError(
            f"the classifier's logits on the way from row {row} are not finite numbers; look at "
            "its weights, and at what it does to values outside [0, 1]"
        )
    return logits
