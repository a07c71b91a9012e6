"""The fast gradient sign method: Goodfellow, Shlens and Szegedy, "Explaining and harnessing
adversarial examples", 2014 (arXiv 1412.6572), section 4."""

from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.pgd import Pgd


def fgsm(ball: Ball) -> Pgd:
    """``x + ε sign(∇_x ℓ(f(x), y))``, clipped to [0, 1]: the best corner of a linear loss.

    It is one step of PGD as long as the radius; in another norm than L∞ along that norm's steepest
    direction.
    """
    return Pgd(ball, steps=1, step_size=ball.eps, random_start=False)
