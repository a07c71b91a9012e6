"""A model that counts what it is asked, for attacks that are not driven by the engine."""

import torch
from torch import Tensor, nn

from pipeline.attacks.base import Model


class CountingModel(nn.Module):
    """A model that counts the pictures it is asked about, forwards and backwards."""

    def __init__(self, model: Model, device: torch.device) -> None:
        super().__init__()
        self.eval()
        self._model = model
        # Libraries read the device off the first parameter.
        self.nothing = nn.Parameter(torch.empty(0, device=device), requires_grad=False)
        self.forwards = self.backwards = self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, K]`` of ``[N, C, H, W]``."""
        self.calls += 1
        self.forwards += x.shape[0]
        logits = self._model(x)
        if logits.requires_grad:
            logits.register_hook(self._count_backward)
        return logits

    def _count_backward(self, gradient: Tensor) -> None:
        self.backwards += gradient.shape[0]
