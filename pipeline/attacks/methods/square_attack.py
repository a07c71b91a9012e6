"""Square attack by its name: which of its machines is for which norm."""

from pipeline.attacks.base import Norm
from pipeline.attacks.entry import AttackEntry
from pipeline.attacks.methods.square import Square
from pipeline.attacks.methods.square_l1 import SquareL1
from pipeline.attacks.methods.square_l2 import SquareL2

SQUARES: dict[Norm, type[Square]] = {Norm.LINF: Square, Norm.L2: SquareL2, Norm.L1: SquareL1}
SQUARE = AttackEntry("square", lambda s: SQUARES[s.norm](s.ball, s.steps), steps=5000)
