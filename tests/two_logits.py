"""A linear network of two classes, on which objectives have closed forms."""

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """Two logits, 0 and ``f = w x + b``: the second class's probability is ``1 / (1 + e^-f)``."""

    def __init__(self, low: float = 0.2) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        size = (0.5 + torch.rand(18, generator=generator)) / 9
        self.weight = nn.Parameter(size * torch.randn(18, generator=generator).sign())
        self.bias = nn.Parameter(torch.tensor(low))

    def decision(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight + self.bias

    def forward(self, x: Tensor) -> Tensor:
        decision = self.decision(x)
        return torch.stack((torch.zeros_like(decision), decision), dim=1)
