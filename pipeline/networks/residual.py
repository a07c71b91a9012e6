"""The body that small convolutional networks share, for pictures from 8×8×1 to about 96×96×3.

Residual blocks as in He, Zhang, Ren and Sun, "Identity mappings in deep residual networks", 2016
(normalise, activate, convolve), with group normalisation (Wu and He, 2018) in the place of batch
normalisation: no layer behaves differently in training and in evaluation and none mixes the rows
of a batch, so a row's features are a function of that row alone and no mode can be left switched
on.
"""

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import UserError

_GROUP_CHANNELS = 8
_LEAST_ROWS, _MOST_ROWS = 64, 256
_FITTING_VALUES = 1 << 20  # of one layer's output: 4 MiB


class BodyShape(Protocol):
    """What a body looks like.

    Attributes:
        height, width, channels: the picture, in pixels.
        widths: channels at each level, multiples of 8; the picture's sides halve between levels.
        blocks: residual blocks a level.
        pooled: whether the features are means over the positions of the last level. If not, each
            position has features of its own, so that they say where things are.
        stem_stride: the first convolution's stride, 1 or 2. With 2 all levels have half the sides,
            and a picture costs about a third.
    """

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def widths(self) -> tuple[int, ...]: ...
    @property
    def blocks(self) -> int: ...
    @property
    def pooled(self) -> bool: ...
    @property
    def stem_stride(self) -> int: ...


def check_body(shape: BodyShape) -> None:
    """Raises UserError for a body that cannot be."""
    bad = [width for width in shape.widths if width < 1 or width % _GROUP_CHANNELS]
    if bad or not shape.widths:
        raise UserError(
            f"widths must be positive multiples of {_GROUP_CHANNELS}, "
            f"not {list(shape.widths)}; for example 32,64,128"
        )
    if shape.blocks < 1:
        raise UserError(f"blocks must be at least 1, not {shape.blocks}")
    if shape.stem_stride not in (1, 2):
        raise UserError(f"stem_stride must be 1 or 2, not {shape.stem_stride}")
    levels = len(shape.widths)
    if min(shape.height, shape.width) // shape.stem_stride < 2 ** (levels - 1):
        raise UserError(
            f"{levels} widths halve the picture {levels - 1} times, too often for "
            f"{shape.height}×{shape.width} pixels and a stem_stride of {shape.stem_stride}; "
            "give fewer widths"
        )


def rows_that_fit(shape: BodyShape) -> int:
    """Rows in each call of a network with this body, a power of 2: part of its identity.

    As many as a CPU's cache has room for, where a layer has the most values; 64 to 256 of them.
    Measured on 28×28 pictures, one core: forward and backward, widths 16, 32, 64 take 0.614 ms a
    row in calls of 64 and 0.627 in calls of 256. With a stem_stride of 2, a quarter of the values,
    they take 0.195 and 0.178, and targeted Auto-PGD 7 % less.
    """
    sides = [side // shape.stem_stride for side in (shape.height, shape.width)]
    values = max(
        width * math.prod(side >> n for side in sides) for n, width in enumerate(shape.widths)
    )
    fitting = 1 << (max(1, _FITTING_VALUES // values).bit_length() - 1)
    return min(max(fitting, _LEAST_ROWS), _MOST_ROWS)


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


class ResidualBody(nn.Module):
    """Pictures in [0, 1] to features; the input is normalised inside."""

    def __init__(self, shape: BodyShape) -> None:
        super().__init__()
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
        self._body = shape

    @property
    def num_features(self) -> int:
        """D, the length of `features`: the last width, times the places unless they are pooled."""
        shape, halvings = self._body, len(self._body.widths) - 1
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
        return torch.mean(h, dim=(2, 3)) if self._body.pooled else h.flatten(1)
