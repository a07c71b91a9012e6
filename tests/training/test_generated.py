"""Generated rows in a batch: the stated share, the same ones whoever asks, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from digit_set import CLASSES, digits, write_digit_samples, write_digits

from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, load_dataset
from pipeline.training.draws import share_of_batch
from pipeline.training.generated import GeneratedRows, open_generated

BATCH = 20
NUMBERS = np.arange(70)  # samples; sample i is a picture of nothing but i + 100
SAMPLES = (NUMBERS[:, None, None, None] + 100).astype(np.uint8)


def generated(share: float, seed: int = 4) -> GeneratedRows:
    return GeneratedRows(SAMPLES, NUMBERS % 10, share, BATCH, seed)


def mixed(rows: GeneratedRows, step: int, own: range = range(BATCH)) -> np.ndarray:
    """The batch's values; below 100 those of the dataset."""
    images = np.arange(BATCH, dtype=np.uint8).reshape(-1, 1, 1, 1)[own.start : own.stop]
    labels = np.full(len(own), -7)
    mixed_images, mixed_labels = rows.mixed(step, own, images, labels)
    values = mixed_images.reshape(-1).astype(int)
    assert np.array_equal(values[values < 100], images.reshape(-1)[values < 100])
    assert np.array_equal(mixed_labels, np.where(values < 100, -7, (values - 100) % 10))
    assert np.array_equal(labels, np.full(len(own), -7))
    return values


@pytest.mark.parametrize(("share", "count"), [(0.3, 6), (0.5, 10), (0.95, 19), (0.001, 1)])
def test_each_batch_has_exactly_the_stated_share(share: float, count: int) -> None:
    rows = generated(share)
    assert [(mixed(rows, step) >= 100).sum() for step in range(5)] == [count] * 5


def test_all_samples_come_once_before_any_comes_again() -> None:
    rows = generated(0.5)
    seen = np.concatenate([mixed(rows, step) for step in range(14)])
    first, second = seen[seen >= 100][:70], seen[seen >= 100][70:]
    assert sorted(first) == sorted(second) == list(range(100, 170))
    assert list(first) != list(second)


@pytest.mark.parametrize("workers", [2, 3, 20])
def test_workers_hold_together_what_one_would_hold(workers: int) -> None:
    rows = generated(0.35)
    for step in (0, 11, 12, 1000):
        parts = [mixed(rows, step, share_of_batch(BATCH, w, workers)) for w in range(workers)]
        assert np.array_equal(np.concatenate(parts), mixed(rows, step))


def test_a_step_sees_the_same_samples_without_those_before_it_and_others_under_another_seed() -> (
    None
):
    one = generated(0.5)
    for step in range(9):
        mixed(one, step)
    assert np.array_equal(mixed(one, 9), mixed(generated(0.5), 9))
    assert not np.array_equal(mixed(one, 9), mixed(generated(0.5, seed=5), 9))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetInfo:
    path = tmp_path_factory.mktemp("data") / "digits"
    write_digits(path, num_train=20, num_test=5)
    return load_dataset(path)


def test_a_sample_set_is_read_whole_and_in_order(dataset: DatasetInfo, tmp_path: Path) -> None:
    images, labels = digits()
    samples = open_generated(write_digit_samples(tmp_path / "samples", labels[:9]), dataset)
    rows = GeneratedRows.read(samples, share=0.5, batch_size=4, seed=0)
    assert np.array_equal(rows.images, images[:9])
    assert np.array_equal(rows.labels, labels[:9])


def test_samples_that_do_not_fit_the_dataset_are_refused(
    dataset: DatasetInfo, tmp_path: Path
) -> None:
    labels = digits()[1][:9]
    other = write_digit_samples(tmp_path / "other", labels, (*CLASSES[:9], "ten"))
    with pytest.raises(UserError, match="different classes: label 9 is ten"):
        open_generated(other, dataset)
    with pytest.raises(UserError, match="samples without a label"):
        open_generated(write_digit_samples(tmp_path / "none", np.append(labels, -1)), dataset)
    with pytest.raises(UserError, match="is not a sample set"):
        open_generated(tmp_path, dataset)
    with pytest.raises(UserError, match="is empty; generate some samples"):
        open_generated(write_digit_samples(tmp_path / "empty", labels[:0]), dataset)
