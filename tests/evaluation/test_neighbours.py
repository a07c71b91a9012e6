"""Copies of training pictures are found, and honest samples are not accused."""

import numpy as np

from pipeline.evaluation.neighbours import find_copies


def pictures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


def test_exact_and_nearly_exact_copies_are_counted() -> None:
    training = pictures(300, 0)
    nearly = training[10:15].copy()
    nearly[:, 0, 0, 0] ^= 1
    samples = np.concatenate([training[:7], nearly, pictures(20, 1)])
    found = find_copies(samples, training)
    assert (found.num_samples, found.num_near) == (32, 12)


def test_the_threshold_is_the_training_pictures_own_closest_percent() -> None:
    training = pictures(200, 2)
    flat = training.reshape(200, -1).astype(np.float64) / 255
    distances = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    found = find_copies(training[:5], training)
    np.testing.assert_allclose(found.threshold, np.quantile(nearest, 0.01), rtol=1e-5)
    np.testing.assert_allclose(found.median_training, np.median(nearest), rtol=1e-5)


def test_fresh_draws_of_the_same_kind_are_not_copies() -> None:
    found = find_copies(pictures(100, 4), pictures(500, 3))
    assert found.num_near <= 5


def test_held_out_pictures_are_counted_in_the_same_way_and_change_no_other_count() -> None:
    training, samples = pictures(300, 0), pictures(20, 1)
    held_out = np.concatenate([training[:4], pictures(6, 2)])
    found = find_copies(samples, training, held_out)
    assert (found.num_held_out, found.num_held_out_near) == (10, 4)
    alone = find_copies(held_out, training)
    assert (alone.num_samples, alone.num_near) == (10, 4)
    assert (found.num_near, found.threshold) == (0, alone.threshold)
