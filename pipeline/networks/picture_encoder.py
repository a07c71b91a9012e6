"""A small picture encoder: a `ResidualBody`, a linear head, and vectors of unit length."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import UserError
from pipeline.networks.residual import ResidualBody, check_body

# CLIP's (Radford et al., arXiv 2103.00020): the scale is the inverse of the temperature, begins at
# 1 / 0.07, and is kept from growing above 100, where training becomes unstable.
_FIRST_SCALE, _MOST_SCALE = 1 / 0.07, 100.0


@dataclass(frozen=True)
class PictureEncoderShape:
    """What a picture encoder's network looks like: a `BodyShape` and its head.

    Attributes:
        height, width, channels: the picture, in pixels.
        num_dimensions: of a picture's vector: those of the text encoder's pooled vectors.
        widths, blocks, pooled, stem_stride: see `BodyShape`.
    """

    height: int
    width: int
    channels: int
    num_dimensions: int
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: int = 1
    pooled: bool = True
    stem_stride: int = 1

    def __post_init__(self) -> None:
        if self.num_dimensions < 2:
            raise UserError(
                f"a picture's vector needs at least 2 dimensions, not {self.num_dimensions}; "
                "embed the captions with another text encoder"
            )
        check_body(self)


class PictureEncoderNetwork(ResidualBody):
    """Pictures in [0, 1] to unit vectors; the input is normalised inside.

    Attributes:
        log_scale: the logarithm of what cosines are multiplied by in the contrastive loss; learned
            with the rest, and of no use afterwards.
    """

    def __init__(self, shape: PictureEncoderShape) -> None:
        super().__init__(shape)
        self.shape = shape
        self.head = nn.Linear(self.num_features, shape.num_dimensions, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_FIRST_SCALE)))

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by, 0-dimensional; at most 100."""
        return torch.clamp(self.log_scale, max=math.log(_MOST_SCALE)).exp()

    def forward(self, x: Tensor) -> Tensor:
        """float32 ``[N, C, H, W]`` in [0, 1] to vectors of length 1, ``[N, D]``."""
        return F.normalize(self.head(self.features(x)), dim=1)
