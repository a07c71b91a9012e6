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
        num_held_out, num_held_out_near: the same counts for real pictures that were not trained
            on. They are no copies, yet about 1 % of them lie as near: what samples compare with.
    """

    num_samples: int
    num_near: int
    threshold: float
    median_sample: float
    median_training: float
    num_held_out: int = 0
    num_held_out_near: int = 0


def find_copies(
    samples: np.ndarray,
    training: np.ndarray,
    held_out: np.ndarray | None = None,
    *,
    quantile: float = 0.01,
) -> Copies:
    """Compares samples with training pictures, uint8 ``[N, H, W, C]`` and ``[M, H, W, C]``.

    Args:
        held_out: real pictures that were not trained on, ``[K, H, W, C]``, counted in the same way.
    """
    known = _flat(training)
    search = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(known)
    # a training picture's nearest is itself (or its exact double): take the second
    own = search.kneighbors(known)[0][:, 1]
    near = search.kneighbors(_flat(samples), n_neighbors=1)[0][:, 0]
    threshold = float(np.quantile(own, quantile))
    num_held_out = num_held_out_near = 0
    if held_out is not None:
        real = search.kneighbors(_flat(held_out), n_neighbors=1)[0][:, 0]
        num_held_out, num_held_out_near = len(held_out), int((real < threshold).sum())
    return Copies(
        len(samples),
        int((near < threshold).sum()),
        threshold,
        float(np.median(near)),
        float(np.median(own)),
        num_held_out,
        num_held_out_near,
    )


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / 255
