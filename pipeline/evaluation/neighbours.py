"""Does the stack copy its training pictures? Equal ones by hash, near ones by distance."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from pipeline.pictures import picture_hashes


@dataclass(frozen=True)
class Copies:
    """How many samples are equal to a training picture, or lie suspiciously near to one.

    Samples are compared with the whole train split for equal pictures, and with some of its rows
    for near ones. Distances are Euclidean, with pixels in [0, 1].

    Attributes:
        num_samples: samples that were compared.
        num_exact: samples that equal a training picture in every value.
        num_near: samples that equal a training picture, or lie within ``threshold`` of a searched
            one.
        threshold: 1 % of the searched training pictures have a different one within this distance.
            None where all searched pictures are equal.
        median_sample: the median distance from a sample to the nearest searched training picture.
        median_training: the median distance from a searched training picture to the nearest
            different one; None where all are equal.
        num_training: the number of searched training pictures.
        num_train_split: the number of training pictures.
        num_held_out, num_held_out_exact, num_held_out_near: the same counts for real pictures that
            were not trained on, as a standard for the samples. These are no copies, yet about 1 %
            of them lie as near, and some may stand in both splits.
    """

    num_samples: int
    num_exact: int
    num_near: int
    threshold: float | None
    median_sample: float
    median_training: float | None
    num_training: int
    num_train_split: int
    num_held_out: int
    num_held_out_exact: int
    num_held_out_near: int


def find_copies(
    samples: np.ndarray,
    searched: np.ndarray,
    train_split: Iterable[np.ndarray],
    held_out: np.ndarray,
    *,
    quantile: float = 0.01,
) -> Copies:
    """Compares samples, uint8 ``[N, H, W, C]``, with training pictures.

    Args:
        samples: at least one.
        searched: the training pictures that are searched for near ones, ``[M, H, W, C]``.
        train_split: batches of all training pictures, read once and compared for equality.
        held_out: real pictures that were not trained on, ``[K, H, W, C]``.
        quantile: the share of searched pictures that have another one within the threshold.
    """
    distinct = _flat(np.unique(searched, axis=0))
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(distinct)
    own = np.empty(0)
    if len(distinct) > 1:  # the nearest is the picture itself: the second is another one
        own = search.kneighbors(distinct, n_neighbors=2)[0][:, 1]
    threshold = float(np.quantile(own, quantile)) if len(own) else None
    near, real = (search.kneighbors(_flat(images))[0][:, 0] for images in (samples, held_out))
    (exact, real_exact), num_train_split = _equal((samples, held_out), train_split)
    # At the threshold is near: distances of float32 pictures are equal to a part in a million.
    within = -1.0 if threshold is None else threshold * (1 + 1e-6)
    return Copies(
        len(samples),
        int(exact.sum()),
        int((exact | (near <= within)).sum()),
        threshold,
        float(np.median(near)),
        float(np.median(own)) if len(own) else None,
        len(searched),
        num_train_split,
        len(held_out),
        int(real_exact.sum()),
        int((real_exact | (real <= within)).sum()),
    )


def _equal(
    sets: tuple[np.ndarray, ...], train_split: Iterable[np.ndarray]
) -> tuple[list[np.ndarray], int]:
    """Which pictures of each set equal a training picture, and how many of those there are."""
    hashes = [picture_hashes(images) for images in sets]
    asked = {digest for of_set in hashes for digest in of_set}
    in_train: set[str] = set()
    rows = 0
    for images in train_split:
        rows += len(images)
        in_train |= asked.intersection(picture_hashes(images))
    return [np.array([digest in in_train for digest in of_set], bool) for of_set in hashes], rows


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / 255
