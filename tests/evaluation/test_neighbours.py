"""Copies of training pictures are found, and honest samples are not accused."""

import numpy as np

from pipeline.evaluation.neighbours import Copies, find_copies


def pictures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


def find(
    samples: np.ndarray,
    searched: np.ndarray,
    held_out: np.ndarray | None = None,
    *,
    others: np.ndarray | None = None,
) -> Copies:
    """Where the train split is what was searched, and ``others``, in parts of 70 rows."""
    split = searched if others is None else np.concatenate([searched, others])
    parts = (split[start : start + 70] for start in range(0, len(split), 70))
    return find_copies(samples, searched, parts, pictures(3, 99) if held_out is None else held_out)


def test_exact_and_nearly_exact_copies_are_counted() -> None:
    training = pictures(300, 0)
    nearly = training[10:15].copy()
    nearly[:, 0, 0, 0] ^= 1
    samples = np.concatenate([training[:7], nearly, pictures(20, 1)])
    found = find(samples, training)
    assert (found.num_samples, found.num_exact, found.num_near) == (32, 7, 12)


def test_copies_are_found_where_training_pictures_stand_twice() -> None:
    """With 2 in 100 twice, the closest 1 % of nearest distances are 0."""
    training = pictures(500, 0)
    doubled = np.concatenate([training, training[:10]])
    nearly = training[100:150].copy()
    nearly[:, 0, 0, 0] ^= 1
    found = find(np.concatenate([training[200:300], nearly]), doubled)
    assert (found.num_exact, found.num_near) == (100, 150)
    alone = find(nearly, training)
    assert found.threshold == alone.threshold
    assert found.median_training == alone.median_training


def test_equal_pictures_are_found_in_all_of_the_train_split_and_the_searched_part_is_told() -> None:
    searched, others = pictures(200, 0), pictures(333, 5)
    samples = np.concatenate([others[-40:], searched[:2], pictures(20, 1)])
    found = find(samples, searched, np.concatenate([others[:4], pictures(6, 2)]), others=others)
    assert (found.num_exact, found.num_near) == (42, 42)
    assert (found.num_training, found.num_train_split) == (200, 533)
    assert (found.num_held_out, found.num_held_out_exact, found.num_held_out_near) == (10, 4, 4)


def test_what_lies_at_the_threshold_is_near() -> None:
    """Constant pictures whose nearest neighbours all keep one distance, which is the threshold."""
    levels = np.arange(0, 250, 10, dtype=np.uint8)
    training = np.broadcast_to(levels[:, None, None, None], (25, 2, 2, 1)).copy()
    found = find_copies(training[:4] + 5, training, iter([training]), training[:3] + np.uint8(3))
    assert found.num_near == 4
    beyond = np.full((4, 2, 2, 1), 255, np.uint8)  # 15 levels from the nearest
    assert find_copies(beyond, training, iter([training]), beyond).num_near == 0
    at = training[-1:] + np.array([10, 0], np.uint8).reshape(2, 1, 1, 1)  # 250: at 10 levels
    assert find_copies(at[:1], training, iter([training]), beyond).num_near == 1


def test_where_all_training_pictures_are_equal_only_equal_samples_count() -> None:
    training = np.full((4, 2, 2, 1), 9, np.uint8)
    found = find(np.concatenate([training[:1], training + 1]), training, training)
    assert (found.num_exact, found.num_near, found.threshold) == (1, 1, None)
    assert found.median_training is None


def test_the_threshold_is_the_training_pictures_own_closest_percent() -> None:
    training = pictures(200, 2)
    flat = training.reshape(200, -1).astype(np.float64) / 255
    distances = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    found = find(training[:5], training)
    np.testing.assert_allclose(found.threshold, np.quantile(nearest, 0.01), rtol=1e-5)
    np.testing.assert_allclose(found.median_training, np.median(nearest), rtol=1e-5)


def test_fresh_draws_of_the_same_kind_are_not_copies() -> None:
    found = find(pictures(100, 4), pictures(500, 3))
    assert found.num_exact == 0
    assert found.num_near <= 5


def test_held_out_pictures_are_counted_in_the_same_way_and_change_no_other_count() -> None:
    training, samples = pictures(300, 0), pictures(20, 1)
    held_out = np.concatenate([training[:4], pictures(6, 2)])
    found = find(samples, training, held_out)
    assert (found.num_held_out, found.num_held_out_near) == (10, 4)
    alone = find(held_out, training)
    assert (alone.num_samples, alone.num_near) == (10, 4)
    assert (found.num_near, found.threshold) == (0, alone.threshold)
