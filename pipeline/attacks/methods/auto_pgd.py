"""Auto-PGD by its names: one a loss, and a machine of its own in L1."""

from collections.abc import Callable
from typing import Literal

from pipeline.attacks.base import Norm, StepAttack
from pipeline.attacks.entry import AttackEntry, Strength
from pipeline.attacks.methods.apgd import Apgd
from pipeline.attacks.methods.apgd_l1 import ApgdL1


def _of(loss: Literal["ce", "dlr", "targeted"]) -> Callable[[Strength], StepAttack]:
    def build(s: Strength) -> StepAttack:
        machine = ApgdL1 if s.norm is Norm.L1 else Apgd
        return machine(s.ball, s.steps, loss, s.restarts)

    return build


APGD_CE = AttackEntry("apgd_ce", _of("ce"), steps=100, heeds=("restarts",))
# The ratios of logits need three and four classes, and towards a class there are two: it, or not.
APGD_DLR = AttackEntry("apgd_dlr", _of("dlr"), 100, heeds=("restarts",), has_target=False)
APGD_TARGETED = AttackEntry(
    "apgd_targeted", _of("targeted"), 100, heeds=("restarts",), has_target=False
)
