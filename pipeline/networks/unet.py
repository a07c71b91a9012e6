"""A U-Net with an entrance at each resolution: a small picture pays only for the inner levels.

The idea of the nested entrances is Matryoshka Diffusion's (Gu et al., 2023). Here the chain is
orthonormal, so the low-pass of a noisy picture at sigma *is* a noisy small picture at the same
sigma: each inner level also receives it, exactly as if the picture had entered there.
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.networks.base import Network, NetworkEntry, NetworkSpec


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(num_groups=max(1, min(8, width // 4)), num_channels=width)


class ResidualBlock(nn.Module):
    """Two convolutions with a residual path; the second is scaled and shifted by the embedding.

    Attributes:
        features: this block's part of the U-Net's vector of kept features.
    """

    def __init__(self, width_in: int, width: int, embedding: int, first_feature: int) -> None:
        super().__init__()
        self.norm1 = _norm(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * width)
        self.norm2 = _norm(width)
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
        self.norm = _norm(width)
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
        self.register_buffer(
            "frequencies", torch.exp(torch.linspace(math.log(0.25), math.log(8.0), 32))
        )
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
        return nn.Sequential(_norm(width), nn.SiLU(), last)

    def forward(
        self,
        pictures: Sequence[Tensor],
        log_sigma: Tensor,
        condition: Tensor | None,
        dropout_mask: Tensor | None = None,
    ) -> Tensor:
        """See `Network`."""
        entrance = len(pictures) - 1
        phase = log_sigma[:, None] * self.frequencies
        features = torch.cat((phase.cos(), phase.sin()), dim=1)
        embedding = self.mix(
            self.level_in(features)
            + self.condition(condition, len(log_sigma))
            + self.entrance.weight[entrance]
        )
        h = self._through(
            entrance, self.stems[entrance](pictures[entrance]), pictures, embedding, dropout_mask
        )
        out: Tensor = self.heads[str(entrance)](h)
        return out

    def _through(
        self,
        index: int,
        h: Tensor,
        pictures: Sequence[Tensor],
        embedding: Tensor,
        dropout_mask: Tensor | None,
    ) -> Tensor:
        level = self.levels[index]
        assert isinstance(level, _Level)
        first = h
        for block in level.encode:
            h = block(h, embedding, dropout_mask)
        if level.attention is not None:
            h = level.attention(h)
        if index > 0:
            inner = level.down(h) + self.stems[index - 1](pictures[index - 1])
            inner = self._through(index - 1, inner, pictures, embedding, dropout_mask)
            h = h + level.up(F.interpolate(inner, scale_factor=2.0, mode="nearest"))
        h = torch.cat((h, first), dim=1)
        for block in level.decode:
            h = block(h, embedding, dropout_mask)
        return h


NESTED = NetworkEntry(
    "nested", "one U-Net that small pictures enter at its inner levels", UNet, shared=True
)
STAGE = NetworkEntry("stage", "a network for each stage", UNet, shared=False)
