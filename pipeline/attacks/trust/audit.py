"""What a cheap ensemble may have missed.

An audit is an alarm, and dearer attacks on a sample of the rows that the ensemble left standing.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.attacks.base import Named
from pipeline.chain.noise import Purpose, keyed_uniform
from pipeline.intervals import clopper_pearson


@dataclass(frozen=True)
class Audit:
    """Dearer attacks on a sample of the rows that withstood: how many would they break?

    Whether a row is drawn is a function of the seed and its number, so the sample is the same
    however the rows are cut into shards.

    Attributes:
        attacks: with their names.
        share: of the rows, from 0 to 1; 1 is no sample but all.
        alarm: an attack that comes after those, on what still stands of the sample; one that needs
            no gradient, so that what it breaks shows that the gradients mislead. Then it is worth
            giving to all.
        widened: whether the alarm is given to all rows that stand, and not to the sample alone.
    """

    attacks: tuple[Named, ...]
    share: float
    alarm: Named | None = None
    widened: bool = False

    @property
    def named(self) -> tuple[Named, ...]:
        """The attacks and the alarm, in the order in which they are tried."""
        return (*self.attacks, *((self.alarm,) if self.alarm else ()))

    def drawn(self, rows: Tensor, seed: int) -> Tensor:
        """Which of the rows with these numbers, int64 ``[N]``, are in the sample, bool ``[N]``."""
        index = rows.cpu()
        uniform = keyed_uniform(torch.full_like(index, seed), index, 0, Purpose.AUDIT, ())
        return (uniform < self.share).to(rows.device)


def audit_report(rows: int, standing: int, audited: int, overturned: int) -> dict[str, Any]:
    """What an audit says of the accuracy that the cheap ensemble found, for a set's manifest.

    The audited rows have the dearer attacks' verdicts themselves. What is estimated is how much
    lower the accuracy would be, were the others given them too: their share of all rows times the
    part of the sample that was overturned, with that part's interval of Clopper and Pearson.

    Args:
        rows: of the set.
        standing: rows that withstood the cheap attacks, without those that the alarm broke.
        audited: those of them that were given the dearer ones.
        overturned: those of these that did not withstand.

    Returns:
        The counts, and difference and difference_interval_95 in percentage points.
    """
    points = 100 * (standing - audited) / rows
    part = overturned / audited if audited else 0.0
    low, high = clopper_pearson(overturned, audited) if audited else (0.0, 1.0)
    return {
        "standing": standing,
        "audited": audited,
        "overturned": overturned,
        "difference": points * part,
        "difference_interval_95": [points * low, points * high],
    }
