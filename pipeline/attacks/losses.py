"""What attacks raise: functions of logits ``[N, K]`` and labels ``[N]`` to ``[N]``."""

import torch
from torch import Tensor
from torch.nn import functional as F

# Under the line: logits that are all the same have no scale. Of a spread that attacks see as 20.
_TINY = 1e-12


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """``-log p(label)`` in nats."""
    return F.cross_entropy(logits, label, reduction="none")


def log_odds(logits: Tensor, label: Tensor) -> Tensor:
    """``log Σ_{i≠y} exp z_i - z_y``, the logarithm of the odds against the label.

    The cross-entropy is ``log(1 + exp(log_odds))``. Both rise together and their gradients point
    the same way, so whatever goes by order and direction alone is the same with either. But the
    cross-entropy's gradient is this one's times ``1 - p_y``. In float32 its part by the own logit
    is 0 from a lead of 17 logits on, and all of it, and the value too, from a lead of 104 on.
    """
    own = logits.gather(1, label[:, None]).squeeze(1)
    others = logits.scatter(1, label[:, None], -torch.inf)
    return others.logsumexp(dim=1) - own


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
