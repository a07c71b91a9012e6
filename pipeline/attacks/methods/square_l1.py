"""Square attack in L1, as AutoAttack has it.

Croce and Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers", 2021
(arXiv 2103.01208), section 5.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pipeline.attacks.base import Norm
from pipeline.attacks.methods.square_l2 import SquareL2


@dataclass(frozen=True)
class SquareL1(SquareL2):
    """`SquareL2` with lengths in L1, steeper bumps, and points projected to ball and box at once.

    Attributes:
        ball: L1.
        steps, share: see `Square`.
    """

    norm: ClassVar[Norm] = Norm.L1
    fall_off: ClassVar[int] = 4

    def available(self, both: Tensor, whole: Tensor) -> Tensor:
        """As in `SquareL2`, but with C channels each gets C times its part, as in the source.

        The projection then takes from all values alike, and the change gets sparser.
        """
        channels = both.shape[1]
        return channels * both + (self.ball.eps - whole).clamp_min(0.0)
