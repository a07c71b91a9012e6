"""The contrastive loss of pictures and their captions: each is to find the other in the batch."""

import torch
from torch import Tensor
from torch.nn import functional as F

_NO_PAIR = -100


def contrastive_loss(pictures: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """The symmetric InfoNCE loss of N pairs, in nats (Radford et al., arXiv 2103.00020).

    The mean of two cross-entropies: of each picture among the texts, and of each text among the
    pictures, where the logits are cosines times ``scale``. Pairs whose texts are equal bit for bit
    are of one caption, and so none is a wrong answer to another: beside its own, a picture is held
    against the texts of other captions alone, and a text against the pictures of other captions.
    The loss is 0 at the least, and pairs that are all of one caption have exactly that.

    Args:
        pictures, texts: vectors of length 1, ``[N, D]``; row i of the one belongs to row i of the
            other. A text of zeros is none, and its row takes no part.
        scale: the inverse of the temperature, above 0.

    Returns:
        A number; differentiable by all three.
    """
    told = _is_told(texts)
    own = torch.arange(len(texts), device=texts.device)
    out = (_same_caption(texts) & (own[:, None] != own)) | ~told | ~told[:, None]
    logits = scale * pictures @ texts.T
    # The least number, not -inf: a batch without any text has a loss of 0 then, and not of NaN.
    logits = logits.masked_fill(out, torch.finfo(logits.dtype).min)
    answers = torch.where(told, own, _NO_PAIR)
    both = [
        F.cross_entropy(way, answers, ignore_index=_NO_PAIR, reduction="sum")
        for way in (logits, logits.T)
    ]
    loss: Tensor = (both[0] + both[1]) / (2 * told.sum().clamp(min=1))
    return loss


def share_found(pictures: Tensor, texts: Tensor) -> Tensor:
    """The share of pictures that are nearer to their own text than to any other caption's.

    Args:
        pictures, texts: as of `contrastive_loss`.
    """
    told = _is_told(texts)
    cosines = pictures @ texts.T
    others = cosines.masked_fill(_same_caption(texts) | ~told, -torch.inf)
    found = told & (cosines.diagonal() > others.amax(dim=1))
    share: Tensor = found.sum() / told.sum().clamp(min=1)
    return share


def _same_caption(texts: Tensor) -> Tensor:
    """Whether two texts are equal, bool ``[N, N]``."""
    _, number = torch.unique(texts, dim=0, return_inverse=True)
    same: Tensor = number[:, None] == number
    return same


def _is_told(texts: Tensor) -> Tensor:
    """Whether there is a text, bool ``[N]``."""
    return (texts != 0).any(dim=1)
