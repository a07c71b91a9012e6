"""Plain gradient ascent on the input."""

from torch import Tensor

from pipeline.attacks.base import Model, Norm, check_inputs, input_gradient, project


def ascent(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    step_size: float,
    steps: int = 1,
    eps: float | None = None,
    norm: Norm = Norm.L2,
    box: bool = True,
) -> Tensor:
    """``x ← x + α ∇_x ℓ(f(x), y)``, repeated: the gradient itself, neither its sign nor direction.

    The step is as long as the gradient: where the classifier is sure of itself both are small, so
    α must be large (hundreds, for a well-trained classifier) and few steps do little.

    Args:
        x: float32 ``[N, C, H, W]`` in [0, 1]; y: int64 ``[N]``, the true labels.
        step_size: α, in [0, 1] units per unit of gradient.
        steps: how often the step is taken.
        eps: radius of the ball that each step is projected to, in [0, 1] units; None for no ball.
        norm: the ball's norm.
        box: clip each step to [0, 1].

    Returns:
        The last iterate, shaped as ``x``.
    """
    check_inputs(x, y, eps=eps, steps=steps)
    adversarial = x
    for _ in range(steps):
        adversarial = adversarial + step_size * input_gradient(model, adversarial, y)
        if eps is not None:
            adversarial = project(adversarial, x, eps=eps, norm=norm)
        if box:
            adversarial = adversarial.clamp(0.0, 1.0)
    return adversarial
