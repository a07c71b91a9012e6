"""Fréchet distance between two sets of features (Dowson and Landau, 1982; Heusel et al., 2017)."""

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from pipeline.errors import UserError

# A share of the features' variance: the rounding error of the square root of a singular product of
# covariances in float64. Sets of equal rows came out at up to 1.4e-8 of it, and mostly below 0.
_ROUNDING = 1e-7

RATIO_BELOW_ONE = (
    "A ratio below 1 does not mean better than real: the mean and covariance of the samples' "
    "features are nearer to the test pictures' than those of as many training pictures are."
)
"""What a person is told of a distance that lies below the floor."""


class _PrecomputedFeatures(nn.Module):
    """Replaces torchmetrics' Inception network, since the features are already computed."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """``|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))`` of float features ``[N, D]``.

    It is biased upwards by an amount that depends on N, so only distances at the same N can be
    compared. It is never negative: what is within rounding of 0 is 0.

    Raises:
        UserError: the sets have different sizes, too few rows, or features that are not finite.
    """
    if len(a) != len(b):
        raise UserError(
            f"a Fréchet distance between {len(a)} and {len(b)} rows would mislead: its bias "
            "depends on the number; give both sets the same count"
        )
    if len(a) < 2:
        raise UserError("a Fréchet distance needs two rows on each side at least")
    for features in (a, b):
        if not np.isfinite(features).all():  # the eigenvalues of such a matrix can end the process
            rows = int((~np.isfinite(features).all(axis=1)).sum())
            raise UserError(
                f"the classifier's features of {rows} of {len(features)} pictures are not finite; "
                "its training has diverged: train it anew, or judge by another"
            )
    metric = FrechetInceptionDistance(feature=_PrecomputedFeatures(a.shape[1]))
    metric.update(torch.from_numpy(np.asarray(a, dtype=np.float64)), real=True)
    metric.update(torch.from_numpy(np.asarray(b, dtype=np.float64)), real=False)
    distance = float(metric.compute())
    variance = float(np.var(a, axis=0, ddof=1).sum() + np.var(b, axis=0, ddof=1).sum())
    return distance if distance > _ROUNDING * variance else 0.0
