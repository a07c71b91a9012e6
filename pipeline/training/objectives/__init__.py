"""What a classifier's training makes small: one file an objective; `OBJECTIVES` holds them.

`base.Objective` says what they are given. The adversarial ones (`pgd`, `trades`) look for worse
pictures first, by the few steps of `inner.InnerAttack`. Those of smooth training (`gaussian`,
`consistency`, `smoothadv`, `cat_rs`) ask about `noisy.NoisyCopies` of each picture.
"""

from typing import TYPE_CHECKING, Literal

from pipeline.registry import entries_of
from pipeline.training.objectives.entry import ObjectiveEntry

OBJECTIVES = entries_of(__name__, __path__, ObjectiveEntry)

if TYPE_CHECKING:
    ObjectiveName = str
else:
    ObjectiveName = Literal[tuple(OBJECTIVES)]
