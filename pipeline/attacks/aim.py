"""What a row that is to be answered as a class is judged by: two logits, of which its target is the
wrong answer."""

import torch
from torch import Tensor


def towards(logits: Tensor, targets: Tensor) -> Tensor:
    """``(max_{i≠t} z_i, z_t)`` of logits ``[N, K]`` and targets t, int64 ``[N]``: ``[N, 2]``."""
    at = targets[:, None]
    others = logits.scatter(1, at, -torch.inf).amax(dim=1)
    return torch.stack((others, logits.gather(1, at).squeeze(1)), dim=1)
