"""Linear classifiers, whose worst perturbations are known in closed form."""

import torch
from torch import Tensor

from pipeline.attacks.base import Norm


class TwoClassLinear:
    """Logits ``(-m/2, m/2)`` of the margin ``m = <w, x> + b``: class 1 where it is positive.

    Both halves move: were the first logit constant, the cross-entropy's gradient would be nought in
    float32 from a margin of 17 on, where ``1 - p`` is.
    """

    def __init__(self, weight: Tensor, bias: float) -> None:
        self.weight = weight  # [C, H, W]
        self.bias = bias

    def margin(self, x: Tensor) -> Tensor:
        """``<w, x> + b`` of each row, ``[N]``."""
        return (x * self.weight).sum(dim=(1, 2, 3)) + self.bias

    def __call__(self, x: Tensor) -> Tensor:
        margin = self.margin(x)
        return torch.stack((-margin / 2, margin / 2), dim=1)


def classifier_with_margin(margin: float, seed: int = 0) -> tuple[TwoClassLinear, Tensor, Tensor]:
    """A classifier and two pictures, equal, that it puts into class 1 by ``margin``.

    Their values are whole levels from 102 to 153, away from the box.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, 4, 5, generator=generator)
    x = torch.randint(102, 154, (1, 2, 4, 5), generator=generator).float() / 255
    model = TwoClassLinear(weight, 0.0)
    model.bias = margin - float(model.margin(x))
    return model, x.repeat(2, 1, 1, 1), torch.ones(2, dtype=torch.int64)


def dual_norm(weight: Tensor, norm: Norm) -> float:
    """How far ``<w, x>`` falls at most for a change of norm 1."""
    order = {Norm.LINF: 1, Norm.L2: 2, Norm.L1: torch.inf}[norm]
    return float(torch.linalg.vector_norm(weight, ord=order))
