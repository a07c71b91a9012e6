"""Linear classifiers, whose worst perturbations are known in closed form."""

import torch
from torch import Tensor


class TwoClassLinear:
    """Logits ``(0, <w, x> + b)``: class 1 where the second is positive."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        self.weight = weight  # [C, H, W]
        self.bias = bias

    def margin(self, x: Tensor) -> Tensor:
        """``<w, x> + b`` of each row, ``[N]``."""
        return (x * self.weight).sum(dim=(1, 2, 3)) + self.bias

    def __call__(self, x: Tensor) -> Tensor:
        margin = self.margin(x)
        return torch.stack((torch.zeros_like(margin), margin), dim=1)


def classifier_with_margin(margin: float, seed: int = 0) -> tuple[TwoClassLinear, Tensor, Tensor]:
    """A classifier and two pictures, away from the box, that it puts into class 1 by ``margin``."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, 4, 5, generator=generator)
    x = 0.4 + 0.2 * torch.rand(1, 2, 4, 5, generator=generator)
    model = TwoClassLinear(weight, 0.0)
    model.bias = margin - float(model.margin(x))
    return model, x.expand(2, -1, -1, -1).contiguous(), torch.ones(2, dtype=torch.int64)
