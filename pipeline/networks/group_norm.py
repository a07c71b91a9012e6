"""The normalisation of feature maps."""

from torch import nn


def group_norm(width: int) -> nn.GroupNorm:
    """Of ``width`` channels in groups of at least four."""
    return nn.GroupNorm(num_groups=max(1, min(8, width // 4)), num_channels=width)
