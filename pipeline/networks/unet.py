"""A U-Net with an entrance at each resolution: a small picture pays only for the inner levels.

The idea of the nested entrances is Matryoshka Diffusion's (Gu et al., 2023). Here the chain is
orthonormal, so the low-pass of a noisy picture at sigma *is* a noisy small picture at the same
sigma: each inner level also receives it, exactly as if the picture had entered there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

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
from pipeline.networks.group_norm import group_norm


class ResidualBlock(nn.Module):
    """Two convolutions with a residual path; the second is scaled and shifted by the embedding.

    Attributes:
        features: this block's part of the U-Net's vector of kept features.
    """

    def __init__(self, width_in: int, width: int, embedding: int, first_feature: int) -> None:
        super().__init__()
        self.norm1 = group_norm(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * width)
        self.norm2 = group_norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()
        self.features = slice(first_feature, first_feature + width)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, embedding: Tensor, dropout_mask: Tensor | None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulate(embedding)[:, :, None, None].chunk(2, dim=1)
        h = F.silu(torch.addcmul(shift, self.norm2(h), scale + 1))
        if dropout_mask is not None:
            h = h * dropout_mask[:, self.features, None, None]
        out: Tensor = self.skip(x) + self.conv2(h)
        return out


class _Attention(nn.Module):
    """Self-attention over the pixels of the innermost level."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = x + self.out(mixed.transpose(-1, -2).reshape(n, c, h, w))
        return out


@dataclass(frozen=True)
class _Told:
    """What every level is told beside its pictures.

    Attributes:
        embedding: of noise level and condition, ``[N, embedding]``.
        tokens: of the condition, see `Condition.tokens`; None for none.
        dropout_mask: see `Network.forward`.
    """

    embedding: Tensor
    tokens: tuple[Tensor, Tensor] | None
    dropout_mask: Tensor | None


class _Level(nn.Module):
    """One resolution: blocks on the way in, the finer-to-coarser step, blocks on the way out."""

    def __init__(self, spec: NetworkSpec, level: int) -> None:
        super().__init__()
        width, count = spec.widths[level], spec.blocks[level]
        before = UNet.num_features(spec, level - 1)
        first = [before + number * width for number in range(2 * count)]
        self.encode = nn.ModuleList(
            ResidualBlock(width, width, spec.embedding, first[i]) for i in range(count)
        )
        self.decode = nn.ModuleList(
            ResidualBlock(2 * width if i == 0 else width, width, spec.embedding, first[count + i])
            for i in range(count)
        )
        self.attention = _Attention(width) if level == 0 else None
        # On the way in and on the way out, since what one finds the other can use.
        attends = level in spec.attends
        self.words = nn.ModuleList(
            CrossAttention(width, spec.condition.size) for _ in range(2 if attends else 0)
        )
        if level > 0:
            inner = spec.widths[level - 1]
            self.down = nn.Conv2d(width, inner, 3, stride=2, padding=1)
            self.up = nn.Conv2d(inner, width, 3, padding=1)


class UNet(Network):
    """A `Network` whose dropout takes whole feature maps of its residual blocks."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        num = len(spec.sides)
        self.levels = nn.ModuleList(_Level(spec, i) for i in range(num))
        deepest = max(spec.entrances)
        self.stems = nn.ModuleList(
            nn.Conv2d(spec.channels, spec.widths[i], 3, padding=1) for i in range(deepest + 1)
        )
        self.heads = nn.ModuleDict({str(i): self._head(i) for i in spec.entrances})
        self.register_buffer("frequencies", level_frequencies())
        self.frequencies: Tensor
        self.condition = spec.condition.rule.embedder(spec.embedding)
        self.entrance = nn.Embedding(num, spec.embedding)
        self.level_in = nn.Linear(2 * 32, spec.embedding)
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(spec.embedding, spec.embedding), nn.SiLU())

    @staticmethod
    def num_features(spec: NetworkSpec, entrance: int) -> int:
        """The channels of all residual blocks from the innermost level to the entrance."""
        pairs = zip(spec.widths[: entrance + 1], spec.blocks[: entrance + 1], strict=True)
        return sum(2 * blocks * width for width, blocks in pairs)

    def part_of(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of those of a finer network: the embedding of entrances has a row a level."""
        return {
            name: tensor[: len(self.levels)] if name == "entrance.weight" else tensor
            for name, tensor in super().part_of(weights).items()
        }

    def _head(self, level: int) -> nn.Sequential:
        width = self.spec.widths[level]
        last = nn.Conv2d(width, self.spec.channels, 3, padding=1)
        # an untrained network adds nothing: x_hat starts as the best multiple of z
        nn.init.zeros_(last.weight)
        nn.init.zeros_(cast(Tensor, last.bias))
        return nn.Sequential(group_norm(width), nn.SiLU(), last)

    def forward(
        self,
        pictures: Sequence[Tensor],
        log_sigma: Tensor,
        condition: Tensor | None,
        dropout_mask: Tensor | None = None,
    ) -> Tensor:
        """See `Network`."""
        entrance = len(pictures) - 1
        tokens = None
        if self.spec.attends and condition is not None:
            tokens = self.spec.condition.rule.tokens(condition)
        embedding = self.mix(
            self.level_in(level_features(log_sigma, self.frequencies))
            + self.condition(condition, len(log_sigma))
            + self.entrance.weight[entrance]
        )
        told = _Told(embedding, tokens, dropout_mask)
        h = self._through(entrance, self.stems[entrance](pictures[entrance]), pictures, told)
        out: Tensor = self.heads[str(entrance)](h)
        return out

    def _through(
        self,
        index: int,
        h: Tensor,
        pictures: Sequence[Tensor],
        told: "_Told",
    ) -> Tensor:
        level = self.levels[index]
        assert isinstance(level, _Level)
        first = h
        for block in level.encode:
            h = block(h, told.embedding, told.dropout_mask)
        if level.attention is not None:
            h = level.attention(h)
        if level.words:
            h = level.words[0](h, told.tokens)
        if index > 0:
            inner = level.down(h) + self.stems[index - 1](pictures[index - 1])
            inner = self._through(index - 1, inner, pictures, told)
            h = h + level.up(F.interpolate(inner, scale_factor=2.0, mode="nearest"))
        h = torch.cat((h, first), dim=1)
        for number, block in enumerate(level.decode):
            h = block(h, told.embedding, told.dropout_mask)
            if level.words and number == 0:
                h = level.words[1](h, told.tokens)
        return h


NESTED = NetworkEntry(
    "nested", "one U-Net that small pictures enter at its inner levels", UNet, shared=True
)
STAGE = NetworkEntry("stage", "a network for each stage", UNet, shared=False)
