"""What pixels take from words: cross-attention over a condition's tokens (Saharia et al., 2022)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.networks.group_norm import group_norm


class CrossAttention(nn.Module):
    """Each pixel attends to the tokens that are there, and to one learned token that always is.

    So a row without tokens, or without a condition, attends to the learned one alone.
    """

    def __init__(self, width: int, size: int, heads: int = 4) -> None:
        """Builds it untrained; it then adds nothing.

        Args:
            width: channels of the feature maps.
            size: dimensions of a token's state.
            heads: into which the width is split.
        """
        super().__init__()
        self.heads = heads
        self.norm = group_norm(width)
        self.query = nn.Conv2d(width, width, 1)
        self.token_norm = nn.LayerNorm(size, elementwise_affine=False)
        self.key_value = nn.Linear(size, 2 * width)
        self.null = nn.Parameter(torch.zeros(2 * width))
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, tokens: tuple[Tensor, Tensor] | None) -> Tensor:
        """Adds to ``[N, width, h, w]`` what its pixels take from the tokens.

        Args:
            x: feature maps.
            tokens: states ``[N, L, size]`` and which are there, bool ``[N, L]``; None for none in
                all rows.
        """
        n, width, h, w = x.shape
        key_value = self.null.expand(n, 1, -1)
        mask = None
        if tokens is not None:
            states, there = tokens
            key_value = torch.cat((key_value, self.key_value(self.token_norm(states))), dim=1)
            mask = F.pad(there, (1, 0), value=True)[:, None, None, :]
        k, v = key_value.unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q = self.query(self.norm(x)).reshape(n, self.heads, width // self.heads, h * w)
        mixed = F.scaled_dot_product_attention(q.transpose(-1, -2), k, v, attn_mask=mask)
        out: Tensor = x + self.out(mixed.transpose(-1, -2).reshape(n, width, h, w))
        return out
