"""Does the stack copy its training pictures? Distances to the nearest one, in pixels."""

from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors


@dataclass(frozen=True)
class Copies:
    """How many samples lie suspiciously near to a training picture.

    Attributes:
        num_samples: samples looked at.
        num_near: samples nearer to a training picture than ``threshold``.
        threshold: the distance that the closest 1 % of training pictures keep from each other;
            Euclidean, pixels in [0, 1].
        median_sample, median_training: medians of the nearest distances, of samples to training
            pictures and of training pictures to each other.
    """

    num_samples: int
    num_near: int
    threshold: float
    median_sample: float
    median_training: float


def find_copies(samples: np.ndarray, training: np.ndarray, *, quantile: float = 0.01) -> Copies:
    """Compares uint8 ``[N, H, W, C]`` samples with training pictures ``[M, H, W, C]``."""
    known = training.reshape(len(training), -1).astype(np.float32) / 255
    asked = samples.reshape(len(samples), -1).astype(np.float32) / 255
    search = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(known)
    # a training picture's nearest is itself (or its exact double): take the second
    own = search.kneighbors(known)[0][:, 1]
    near = search.kneighbors(asked, n_neighbors=1)[0][:, 0]
    threshold = float(np.quantile(own, quantile))
    return Copies(
        len(samples),
        int((near < threshold).sum()),
        threshold,
        float(np.median(near)),
        float(np.median(own)),
    )
