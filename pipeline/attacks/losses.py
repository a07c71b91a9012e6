"""What attacks raise: functions of logits ``[N, K]`` and labels ``[N]`` to ``[N]``."""

import torch
from torch import Tensor
from torch.nn import functional as F

_TINY = 1e-12  # under the line: logits that are all the same have no scale


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """``-log p(label)`` in nats."""
    return F.cross_entropy(logits, label, reduction="none")


def margin(logits: Tensor, label: Tensor) -> Tensor:
    """``max_{i≠y} z_i - z_y``: above 0 exactly where the answer is wrong."""
    own = logits.gather(1, label[:, None]).squeeze(1)
    others = logits.scatter(1, label[:, None], -torch.inf)
    return others.amax(dim=1) - own


def logits_ratio(logits: Tensor, label: Tensor) -> Tensor:
    """The difference of logits ratio, ``(max_{i≠y} z_i - z_y) / (z_π1 - z_π3)``.

    It does not change when the logits are shifted or scaled, so no scaling hides its gradient.
    Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks", 2020 (arXiv 2003.01690), equation 6; K >= 3.
    """
    ordered = logits.sort(dim=1, descending=True).values
    return margin(logits, label) / (ordered[:, 0] - ordered[:, 2] + _TINY)


def targeted_logits_ratio(logits: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """``(z_t - z_y) / (z_π1 - (z_π3 + z_π4) / 2)``: the same source, equation 7; K >= 4."""
    ordered = logits.sort(dim=1, descending=True).values
    picked = logits.gather(1, torch.stack((target, label), dim=1))
    scale = ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2 + _TINY
    return (picked[:, 0] - picked[:, 1]) / scale
