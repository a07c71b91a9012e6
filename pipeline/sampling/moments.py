"""The denoiser given known pixels, by matching moments: exact at once for Gaussian pictures.

With ``J = dx_hat/dz``, Tweedie's formulas give a picture's posterior the mean ``x_hat`` and the
covariance ``sigma^2 J``. Taken for Gaussian, it is conditioned on the known pixels ``k`` in closed
form: ``x_hat + J_.k J_kk^-1 (x_k - x_hat_k)`` (Boys et al., 2023; Rozet et al., 2024). The system
is solved by conjugate gradients, each step a product with ``J`` by one pass backwards.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.sampling.base import Denoiser
from pipeline.sampling.known import KnownPixels

MOST_STEPS = 100
_SINGULAR = 1e-9  # a direction whose share of J lies below: what is known says nothing about it


@dataclass(frozen=True)
class GivenPixels:
    """``x_hat`` of a denoiser given known pixels, a `Denoiser` itself.

    Attributes:
        denoiser: differentiable in ``z``.
        known: of the N pictures of each call.
        num_steps: of conjugate gradients, from 1 on. Each costs a pass backwards, about one call of
            the denoiser. The J of a trained network is not symmetric: a stack of the digits was
            nearest to what it could not see by 2 steps, and farther off by 5 than by none.
    """

    denoiser: Denoiser
    known: KnownPixels
    num_steps: int

    def __call__(self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        # Copies: what was made in inference mode can take no part in a pass backwards.
        with torch.inference_mode(False), torch.enable_grad():
            start = z.detach().clone().requires_grad_()
            given = None if condition is None else condition.clone()
            x_hat = self.denoiser(stage, start, sigma.clone(), given)

            def product(v: Tensor) -> Tensor:
                """``J v``: J is symmetric, as the covariance that it is a share of."""
                (out,) = torch.autograd.grad(x_hat, start, v, retain_graph=True)
                return out

            x_r, mask = self.known.at(z.shape[-2])
            mask = mask.clone()
            missing = torch.where(mask, x_r.clone().to(z) - x_hat.detach(), 0.0)
            shift = product(self._solve(product, mask, missing))
        return x_hat.detach() + shift

    def _solve(self, product: Callable[[Tensor], Tensor], mask: Tensor, missing: Tensor) -> Tensor:
        """``J_kk^-1`` of what is missing of the known pixels, each row by itself."""
        solution, left, direction = torch.zeros_like(missing), missing, missing
        size = _squares(left)
        for _ in range(self.num_steps):
            along = torch.where(mask, product(direction), 0.0)
            share = (direction * along).flatten(1).sum(dim=1)
            good = share > _SINGULAR * _squares(direction)
            step = _rows(torch.where(good, size / share, 0.0))
            solution, left = solution + step * direction, left - step * along
            before, size = size, _squares(left)
            turn = torch.where(good & (before > 0), size / before, 0.0)
            direction = left + _rows(turn) * direction
        return solution


def _squares(x: Tensor) -> Tensor:
    return x.square().flatten(1).sum(dim=1)


def _rows(values: Tensor) -> Tensor:
    return values[:, None, None, None]
