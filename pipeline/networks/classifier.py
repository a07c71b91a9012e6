"""A small residual convolutional classifier for pictures from 8×8×1 to about 96×96×3.

Residual blocks as in He, Zhang, Ren and Sun, "Identity mappings in deep residual networks", 2016
(normalise, activate, convolve), with group normalisation (Wu and He, 2018) in the place of batch
normalisation: no layer behaves differently in training and in evaluation and none mixes the rows
of a batch, so a row's logits are a function of that row alone and no mode can be left switched on.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import UserError

_GROUP_CHANNELS = 8


@dataclass(frozen=True)
class ClassifierShape:
    """What a classifier network looks like.

    Attributes:
        height, width, channels: the picture, in pixels.
        num_classes: the number of logits, at least 2.
        widths: channels at each level, multiples of 8; the picture's sides halve between levels.
        blocks: residual blocks a level.
        pooled: whether the features are means over the positions of the last level. If not, each
            position has features of its own, so that they say where things are.
        stem_stride: the first convolution's stride, 1 or 2. With 2 all levels have half the sides,
            and a picture costs about a third.
    """

    height: int
    width: int
    channels: int
    num_classes: int
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: int = 1
    pooled: bool = True
    stem_stride: int = 1

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise UserError(
                f"a classifier needs at least 2 classes, the dataset has {self.num_classes}; "
                "ingest pictures with labels"
            )
        bad = [width for width in self.widths if width < 1 or width % _GROUP_CHANNELS]
        if bad or not self.widths:
            raise UserError(
                f"widths must be positive multiples of {_GROUP_CHANNELS}, "
                f"not {list(self.widths)}; for example 32,64,128"
            )
        if self.blocks < 1:
            raise UserError(f"blocks must be at least 1, not {self.blocks}")
        if self.stem_stride not in (1, 2):
            raise UserError(f"stem_stride must be 1 or 2, not {self.stem_stride}")
        levels = len(self.widths)
        if min(self.height, self.width) // self.stem_stride < 2 ** (levels - 1):
            raise UserError(
                f"{levels} widths halve the picture {levels - 1} times, too often for "
                f"{self.height}×{self.width} pixels and a stem_stride of {self.stem_stride}; "
                "give fewer widths"
            )


class ResidualBlock(nn.Module):
    """``h + conv(act(norm(conv(act(norm(h))))))``; a stride of 2 halves height and width."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(channels_in // _GROUP_CHANNELS, channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm_out = nn.GroupNorm(channels_out // _GROUP_CHANNELS, channels_out)
        self.conv_out = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        nn.init.zeros_(self.conv_out.weight)  # each block starts as the identity
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.skip = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, h: Tensor) -> Tensor:  # [N, C_in, H, W] -> [N, C_out, H/stride, W/stride]
        inner = F.relu(self.norm_in(h))
        out: Tensor = self.skip(h) + self.conv_out(F.relu(self.norm_out(self.conv_in(inner))))
        return out


class ClassifierNetwork(nn.Module):
    """Pictures in [0, 1] to logits; the input is normalised inside."""

    def __init__(self, shape: ClassifierShape) -> None:
        super().__init__()
        self.shape = shape
        first, stride = shape.widths[0], shape.stem_stride
        # The kernel grows with the stride, so neighbours overlap by two pixels in any case.
        self.stem = nn.Conv2d(shape.channels, first, 2 + stride, stride, padding=1, bias=False)
        blocks: list[nn.Module] = []
        channels = first
        for level, width in enumerate(shape.widths):
            for block in range(shape.blocks):
                stride = 2 if level > 0 and block == 0 else 1
                blocks.append(ResidualBlock(channels, width, stride))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.GroupNorm(channels // _GROUP_CHANNELS, channels)
        self.head = nn.Linear(self.num_features, shape.num_classes)

    @property
    def num_features(self) -> int:
        """D, the length of `features`: the last width, times the places unless they are pooled."""
        shape, halvings = self.shape, len(self.shape.widths) - 1
        if shape.pooled:
            return shape.widths[-1]
        # Each halving rounds up, as a padded convolution does; the stem rounds down.
        sides = [
            -(-(side // shape.stem_stride) >> halvings) for side in (shape.height, shape.width)
        ]
        return shape.widths[-1] * sides[0] * sides[1]

    def features(self, x: Tensor) -> Tensor:
        """float32 ``[N, C, H, W]`` in [0, 1] to the penultimate features ``[N, D]``, >= 0."""
        h = F.relu(self.norm(self.blocks(self.stem(2 * x - 1))))
        return torch.mean(h, dim=(2, 3)) if self.shape.pooled else h.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """float32 ``[N, C, H, W]`` in [0, 1] to logits ``[N, K]``."""
        logits: Tensor = self.head(self.features(x))
        return logits
