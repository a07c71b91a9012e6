"""A residual network for vectors, which are pictures of one pixel: ``[N, D, 1, 1]``."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.networks.base import (
    Network,
    NetworkEntry,
    NetworkSpec,
    level_features,
    level_frequencies,
)
from pipeline.networks.cross_attention import CrossAttention

_HIDDEN = 2  # features inside a block, in widths


class _Block(nn.Module):
    """Two linear maps with a residual path, scaled and shifted by the embedding in between."""

    def __init__(self, width: int, embedding: int, first_feature: int) -> None:
        super().__init__()
        hidden = _HIDDEN * width
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, hidden)
        self.modulate = nn.Linear(embedding, 2 * hidden)
        self.outer = nn.Linear(hidden, width)
        self.features = slice(first_feature, first_feature + hidden)
        nn.init.zeros_(self.outer.weight)

    def forward(self, x: Tensor, embedding: Tensor, dropout_mask: Tensor | None) -> Tensor:
        scale, shift = self.modulate(embedding).chunk(2, dim=1)
        h = F.silu(torch.addcmul(shift, self.inner(self.norm(x)), scale + 1))
        if dropout_mask is not None:
            h = h * dropout_mask[:, self.features]
        out: Tensor = x + self.outer(h)
        return out


class VectorNetwork(Network):
    """A `Network` of one level, of side 1; its dropout takes features inside its blocks.

    A condition's tokens come in by way of the embedding, which attends to them. The width should
    not be less than the vector's dimensions: what does not fit through is lost.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        if spec.sides != (1,):
            raise ValueError(f"a network of vectors has one level of side 1, got {spec.sides}")
        (width,), (blocks,) = spec.widths, spec.blocks
        self.stem = nn.Linear(spec.channels, width)
        self.blocks = nn.ModuleList(
            _Block(width, spec.embedding, i * _HIDDEN * width) for i in range(blocks)
        )
        self.head = nn.Linear(width, spec.channels)
        # an untrained network adds nothing: x_hat starts as the best multiple of z
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("frequencies", level_frequencies())
        self.frequencies: Tensor
        self.level_in = nn.Linear(2 * len(self.frequencies), spec.embedding)
        self.condition = spec.condition.rule.embedder(spec.embedding)
        self.words = CrossAttention(spec.embedding, spec.condition.size) if spec.attends else None
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(spec.embedding, spec.embedding), nn.SiLU())

    @staticmethod
    def num_features(spec: NetworkSpec, entrance: int) -> int:
        """The inner features of all blocks."""
        return spec.blocks[0] * _HIDDEN * spec.widths[0]

    def forward(
        self,
        pictures: Sequence[Tensor],
        log_sigma: Tensor,
        condition: Tensor | None,
        dropout_mask: Tensor | None = None,
    ) -> Tensor:
        """See `Network`."""
        (z,) = pictures
        embedding = self.level_in(level_features(log_sigma, self.frequencies))
        embedding = embedding + self.condition(condition, len(log_sigma))
        if self.words is not None:
            tokens = None if condition is None else self.spec.condition.rule.tokens(condition)
            embedding = self.words(embedding[:, :, None, None], tokens).flatten(1)
        embedding = self.mix(embedding)
        h = self.stem(z.flatten(1))
        for block in self.blocks:
            h = block(h, embedding, dropout_mask)
        out: Tensor = self.head(h)
        return out[:, :, None, None]


VECTOR = NetworkEntry(
    "vector", "a residual network of linear layers", VectorNetwork, shared=True, vectors=True
)
