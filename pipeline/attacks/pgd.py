"""Projected gradient descent on the negative loss: Madry, Makelov, Schmidt, Tsipras and Vladu,
"Towards deep learning models resistant to adversarial attacks", 2017 (arXiv 1706.06083)."""

import numpy as np
import torch
from torch import Tensor

from pipeline.attacks.base import Model, Norm, check_inputs, input_gradient, project, row_length
from pipeline.chain.noise import Purpose, keyed_normal, keyed_uniform


def pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: Norm = Norm.LINF,
    steps: int = 20,
    step_size: float | None = None,
    seed: int = 0,
    rows: Tensor | None = None,
) -> Tensor:
    """Steps of fixed length up the loss, each projected to the ball and the box.

    L∞ steps along the gradient's sign, L2 along its direction. The start is drawn uniformly from
    the ball, keyed by ``(seed, row)``: a row's result does not depend on the batch it is in.

    Args:
        x: float32 ``[N, C, H, W]`` in [0, 1]; y: int64 ``[N]``, the true labels.
        eps: the ball's radius, in [0, 1] units.
        norm: the ball's norm.
        steps: gradient steps.
        step_size: α, in [0, 1] units; None for 2.5 ε / steps, which reaches any point of the ball
            from any other and leaves room to turn.
        seed: of the random start.
        rows: int64 ``[N]``, each picture's own row number in its dataset; None starts every row
            at ``x`` itself, with no randomness.

    Returns:
        The last iterate, shaped as ``x``.
    """
    check_inputs(x, y, eps=eps, steps=steps)
    alpha = 2.5 * eps / steps if step_size is None else step_size
    adversarial = x if rows is None else random_start(x, eps=eps, norm=norm, seed=seed, rows=rows)
    for _ in range(steps):
        gradient = input_gradient(model, adversarial, y)
        if norm is Norm.LINF:
            direction = gradient.sign()
        else:
            direction = gradient / row_length(gradient).clamp_min(1e-30)
        adversarial = project(adversarial + alpha * direction, x, eps=eps, norm=norm)
    return adversarial


def random_start(x: Tensor, *, eps: float, norm: Norm, seed: int, rows: Tensor) -> Tensor:
    """A point drawn uniformly from the ball around each picture, then clipped to [0, 1]."""
    shape = tuple(x.shape[1:])
    seeds = np.full(x.shape[0], seed, dtype=np.int64)
    if norm is Norm.LINF:
        uniform = keyed_uniform(seeds, rows, 0, Purpose.ATTACK, shape)
        delta = (eps * (2 * uniform - 1)).float()
    else:
        # A direction on the sphere; its radius grows as the d-th root, as volume does.
        normal = keyed_normal(seeds, rows, 0, Purpose.ATTACK, shape)
        radius = keyed_uniform(seeds, rows, 1, Purpose.ATTACK, (1, 1, 1)) ** (1 / normal[0].numel())
        delta = eps * radius.float() * normal / row_length(normal)
    return project(x + delta.to(device=x.device, dtype=torch.float32), x, eps=eps, norm=norm)
