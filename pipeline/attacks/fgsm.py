"""The fast gradient sign method: Goodfellow, Shlens and Szegedy, "Explaining and harnessing
adversarial examples", 2014 (arXiv 1412.6572), section 4."""

from torch import Tensor

from pipeline.attacks.base import Model, Norm, check_inputs, input_gradient, project


def fgsm(model: Model, x: Tensor, y: Tensor, *, eps: float) -> Tensor:
    """``x + ε sign(∇_x ℓ(f(x), y))``, clipped to [0, 1]: the best corner of a linear loss.

    Args:
        x: float32 ``[N, C, H, W]`` in [0, 1]; y: int64 ``[N]``, the true labels.
        eps: the L∞ radius, in [0, 1] units.

    Returns:
        The adversarial pictures, shaped as ``x``.
    """
    check_inputs(x, y, eps=eps)
    step = eps * input_gradient(model, x, y).sign()
    return project(x + step, x, eps=eps, norm=Norm.LINF)
