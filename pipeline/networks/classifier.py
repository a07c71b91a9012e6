"""A small convolutional classifier: a `ResidualBody` and a linear head."""

from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.networks.residual import ResidualBody, check_body


@dataclass(frozen=True)
class ClassifierShape:
    """What a classifier network looks like: a `BodyShape` and its head.

    Attributes:
        height, width, channels: the picture, in pixels.
        num_classes: the number of logits, at least 2.
        widths, blocks, pooled, stem_stride: see `BodyShape`.
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
        check_body(self)


class ClassifierNetwork(ResidualBody):
    """Pictures in [0, 1] to logits; the input is normalised inside."""

    def __init__(self, shape: ClassifierShape) -> None:
        super().__init__(shape)
        self.shape = shape
        self.head = nn.Linear(self.num_features, shape.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """float32 ``[N, C, H, W]`` in [0, 1] to logits ``[N, K]``."""
        logits: Tensor = self.head(self.features(x))
        return logits
