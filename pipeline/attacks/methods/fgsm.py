"""The fast gradient sign method.

Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples", 2014 (arXiv
1412.6572), section 4.
"""

from pipeline.attacks.base import Norm
from pipeline.attacks.entry import AttackEntry, Strength
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.pgd import Pgd
from pipeline.errors import UserError


def fgsm(ball: Ball) -> Pgd:
    """``x + ε sign(∇_x ℓ(f(x), y))``, clipped to [0, 1]: the best corner of a linear loss.

    It is one step of PGD as long as the radius; in another norm than L∞ along that norm's steepest
    direction.
    """
    return Pgd(ball, steps=1, step_size=ball.eps, random_start=False)


def _build(s: Strength) -> Pgd:
    if s.norm is not Norm.LINF or s.steps != 1:
        raise UserError("fgsm takes one step in the norm linf; use pgd for more, or for l2")
    return fgsm(s.ball)


FGSM = AttackEntry("fgsm", _build, steps=1)
