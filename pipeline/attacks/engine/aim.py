"""The two logits that decide whether a row with a target is broken; its target is the wrong one."""

import torch
from torch import Tensor


def towards(logits: Tensor, targets: Tensor) -> Tensor:
    """``(max_{i≠t} z_i, z_t)`` of logits ``[N, K]`` and targets t, int64 ``[N]``: ``[N, 2]``."""
    at = targets[:, None]
    others = logits.scatter(1, at, -torch.inf).amax(dim=1)
    return torch.stack((others, logits.gather(1, at).squeeze(1)), dim=1)


def odds_towards(logits: Tensor, targets: Tensor) -> Tensor:
    """``(log Σ_{i≠t} exp z_i, z_t)``: ``[N, 2]``, of which the log odds are t's in all classes.

    What goes by the cross-entropy sees all competitors so. With the strongest alone, PGD with 40
    steps left 37 % of Fashion-MNIST standing where it leaves 34 % so (300 pictures, 25 levels).
    """
    at = targets[:, None]
    others = logits.scatter(1, at, -torch.inf).logsumexp(dim=1)
    return torch.stack((others, logits.gather(1, at).squeeze(1)), dim=1)
