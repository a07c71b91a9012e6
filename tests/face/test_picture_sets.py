"""`ns.open_dataset` and its siblings: the rows that were written, in slices, without the rest."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from certificate_faults import write_certificates
from digit_set import CLASSES, digits, write_digit_samples, write_digits
from perturbation_faults import settings, write_inputs, write_set
from torch.utils.data import DataLoader

import noisestack as ns
from pipeline.formats.dataset import DatasetInfo, read_rows


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> DatasetInfo:
    """1,300 training rows in files of 700: the first has two row groups."""
    path = tmp_path_factory.mktemp("digits")
    return write_digits(path, num_train=1300, num_test=20, shard_rows=700)


def test_a_dataset_says_what_it_is_without_reading_a_picture(info: DatasetInfo) -> None:
    data = ns.open_dataset(info.path)
    assert (len(data), data.split, data.splits) == (1300, "train", {"train": 1300, "test": 20})
    assert (data.shape, data.classes, data.sha256) == ((8, 8, 1), CLASSES, info.sha256)
    assert data.columns == ("id", "image", "label")
    assert data.manifest["content_sha256"] == info.sha256
    assert len(ns.open_dataset(info.path, "test")) == 20


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (690, 710), (-5, None), (1290, 5000), (7, 3), (1300, None)]
)
def test_tables_and_arrays_hold_the_rows_of_a_slice(
    info: DatasetInfo, start: int, stop: int | None
) -> None:
    data = ns.open_dataset(info.path)
    images, labels = digits()
    due = range(1300)[start:stop]
    table = data.table(start, stop)
    assert table.equals(read_rows(info, "train", due.start, max(due.start, due.stop)))
    arrays = data.arrays(start, stop)
    assert np.array_equal(arrays["image"], images[due.start : max(due.start, due.stop)])
    assert np.array_equal(arrays["label"], labels[due.start : max(due.start, due.stop)])
    assert arrays["id"].tolist() == [f"digit-{row}" for row in due]
    assert list(data.arrays(start, stop, ["label"])) == ["label"]


def test_the_files_come_in_turn(info: DatasetInfo) -> None:
    tables = list(ns.open_dataset(info.path).tables(["label"]))
    assert [table.num_rows for table in tables] == [700, 600]
    assert tables[1].column_names == ["label"]


def test_rows_of_one_file_are_read_without_the_others(tmp_path: Path) -> None:
    write_digits(tmp_path, num_train=20, num_test=5, shard_rows=10)
    data = ns.open_dataset(tmp_path)
    rows = data.torch()
    (tmp_path / "train/part-00001.parquet").unlink()
    assert len(data.arrays(0, 10)["label"]) == 10
    assert data.picture(9).size == (8, 8)
    assert len(rows[9]) == 2
    for read in (lambda: data.table(9, 11), lambda: data.picture(-1), lambda: rows[10]):
        with pytest.raises(ns.UserError, match="part-00001"):
            read()


def test_a_picture_is_pillows(info: DatasetInfo) -> None:
    data = ns.open_dataset(info.path)
    picture = data.picture(-1)
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), digits()[0][1299, :, :, 0])
    for row in (1300, -1301):
        with pytest.raises(IndexError, match="of 1300"):
            data.picture(row)
    with pytest.raises(ns.UserError, match="not pictures of one shape"):
        data.picture(0, "label")


@pytest.mark.parametrize("cache_bytes", [0, 256 << 20])
def test_a_torch_data_set_gives_the_rows_in_any_order(info: DatasetInfo, cache_bytes: int) -> None:
    rows = ns.open_dataset(info.path).torch(start=500, stop=720, cache_bytes=cache_bytes)
    images, labels = digits()
    assert len(rows) == 220
    order = torch.randperm(220, generator=torch.Generator().manual_seed(0)).tolist()
    x, y = next(iter(DataLoader(rows, batch_size=220, sampler=order)))
    chosen = np.array(order) + 500
    assert torch.equal(x, torch.from_numpy(images[chosen]).movedim(-1, 1).float() / 255)
    assert torch.equal(y, torch.from_numpy(labels[chosen]))
    assert torch.equal(rows[-1][0], rows[219][0])
    with pytest.raises(IndexError):
        rows[220]
    again = pickle.loads(pickle.dumps(rows))  # how a DataLoader's workers get it
    assert again[3][1] == rows[3][1]
    assert len(pickle.dumps(rows)) < 10_000


def test_items_are_made_of_the_columns_asked_for(info: DatasetInfo) -> None:
    data = ns.open_dataset(info.path)
    assert data.torch(["label", "id"])[3] == (int(digits()[1][3]), "digit-3")
    for ask in (data.torch, data.tables, lambda names: data.table(columns=names)):
        with pytest.raises(ns.UserError, match="has no column 'labels', only id, image, label"):
            list(ask(["labels"]))


def test_a_sample_set_has_its_keys_beside_the_pictures(tmp_path: Path) -> None:
    samples = ns.open_samples(write_digit_samples(tmp_path, np.arange(11) % 10))
    assert len(samples) == 11
    assert samples.classes == CLASSES
    assert samples.shape == (8, 8, 1)
    assert samples.arrays()["sample_index"].tolist() == list(range(11))
    assert samples.torch()[7][1] == 7
    assert samples.manifest["content_sha256"] == samples.sha256


def test_a_perturbation_set_shows_both_pictures_and_its_accuracies(tmp_path: Path) -> None:
    _, classifier = write_inputs(tmp_path)
    write_set(tmp_path, tmp_path / "set", settings())
    opened = ns.open_perturbations(tmp_path / "set")
    assert (len(opened), opened.shape, opened.classes) == (60, (8, 8, 1), CLASSES)
    assert (opened.attack["attack"], opened.attack["eps"]) == ("pgd", 40)
    rows = opened.arrays()
    clean, stored, labels = rows["image"], rows["adversarial"], rows["label"]
    right = classifier.predict(clean) == labels
    assert opened.clean_accuracy == ns.Rate(int(right.sum()), 60)
    standing = int((right & ~rows["success"]).sum())
    assert opened.robust_accuracy == ns.Rate(standing, 60)
    assert float(opened.robust_accuracy) == opened.manifest["robust_accuracy"]
    assert [*opened.robust_accuracy.interval] == opened.manifest["robust_accuracy_interval_95"]
    assert len(opened.warnings) == len(opened.manifest["warnings"])
    assert np.array_equal(np.asarray(opened.picture(2)), stored[2, :, :, 0])
    assert np.array_equal(np.asarray(opened.picture(2, "image")), clean[2, :, :, 0])
    x, y = opened.torch()[2]
    assert torch.equal(x, torch.from_numpy(stored[2]).movedim(-1, 0) / 255)
    assert y == labels[2]


def test_a_certificate_set_has_its_votes_radii_and_certified_accuracy(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    manifest = write_certificates(tmp_path, tmp_path / "set")
    opened = ns.open_certificates(tmp_path / "set")
    assert (len(opened), opened.shape, opened.classes) == (60, (8, 8, 1), CLASSES)
    assert (opened.certificate["sigma"], opened.base["base"]) == (0.25, "classifier")
    rows = opened.arrays()
    assert rows["n0_counts"].shape == (60, 10)
    assert (rows["n0_counts"].sum(axis=1) == 20).all()
    right = (rows["predicted"] == rows["label"]) & ~rows["abstained"]
    for radius in (0.0, 0.1, 0.25):
        due = ns.Rate(int((right & (rows["radius"] >= radius)).sum()), 60)
        assert opened.certified_accuracy(radius) == due
    points = {point["radius"]: point["right"] for point in manifest["curve"]}
    assert opened.certified_accuracy(0.25).count == points[0.25]
    assert opened.abstained == ns.Rate(int(rows["abstained"].sum()), 60)
    assert opened.average_radius == pytest.approx(np.where(right, rows["radius"], 0).mean())
    with pytest.raises(ns.UserError, match="has no column 'image'"):
        opened.picture(0)


@pytest.mark.parametrize(
    "opened",
    [ns.open_dataset, ns.open_samples, ns.open_perturbations, ns.open_certificates],
)
def test_what_is_no_such_set_is_refused_in_one_line(opened: object, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", "s3://bucket/set"):
        with pytest.raises(ns.UserError) as caught:
            opened(path)  # type: ignore[operator]
        assert "\n" not in str(caught.value)


def test_an_unknown_split_is_named_with_those_there_are(info: DatasetInfo) -> None:
    with pytest.raises(ns.UserError, match="no split 'dev', only train, test"):
        ns.open_dataset(info.path, "dev")
