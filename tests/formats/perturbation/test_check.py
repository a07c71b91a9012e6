"""The check of a perturbation set finds every planted fault, and nothing in an honest set."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from digit_set import write_digits
from perturbation_faults import plant, replace, settings, write_inputs, write_set

from pipeline.attacks.base import Norm
from pipeline.classifier import Classifier
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, load_dataset
from pipeline.formats.output import read_json, write_json
from pipeline.formats.perturbation.check import TIE, check_rows, verify_perturbation_set
from pipeline.formats.perturbation.verdict import margins_of
from pipeline.formats.set_manifest import MANIFEST_FILE
from pipeline.formats.shard import image_column, images_of, read_part
from pipeline.perturbation_terms import MARGIN


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perturbations")
    write_inputs(path)
    write_set(path, path / "linf", settings())
    write_set(path, path / "l2", settings(norm=Norm.L2, eps_levels=128))
    return path


@pytest.fixture
def judge(inputs: Path) -> Classifier:
    return Classifier.load(inputs / "classifier")


@pytest.fixture
def info(inputs: Path) -> DatasetInfo:
    return load_dataset(inputs / "digits")


@pytest.fixture
def copied(inputs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(inputs / "linf", tmp_path / "set"))


@pytest.mark.parametrize("name", ["linf", "l2"])
def test_an_honest_set_holds_all_it_claims(
    inputs: Path, judge: Classifier, info: DatasetInfo, name: str
) -> None:
    report = verify_perturbation_set(inputs / name, judge, info)
    assert report.faults == ()
    assert report.faults == ()
    assert report.num_rows == report.num_verified == 60
    assert report.num_near_ties == 0
    assert report.clean_accuracy > 0.9
    assert report.robust_accuracy < report.clean_accuracy - 0.2
    counts = read_json(inputs / name / MANIFEST_FILE)["counts"]
    assert report.clean_accuracy == counts["clean_right"] / 60
    assert report.robust_accuracy == (counts["clean_right"] - counts["successes"]) / 60


def one_pixel_too_far(table: pa.Table) -> pa.Table:
    clean, stored = images_of(table), images_of(table, "adversarial").copy()
    pixel = stored[7].ravel()
    place = int(np.argmin(np.abs(clean[7].ravel().astype(int) - 100)))
    pixel[place] = clean[7].ravel()[place] + (41 if clean[7].ravel()[place] < 200 else -41)
    linf = table.column("linf").to_pylist()
    linf[7] = 41
    return replace(replace(table, "adversarial", image_column(stored)), "linf", linf)


def change_row(column: str, value: object, row: int = 7) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table.column(column).to_pylist()
        assert values[row] != value
        return replace(table, column, [*values[:row], value, *values[row + 1 :]])

    return change


def swap_labels(table: pa.Table) -> pa.Table:
    labels = table.column("label").to_pylist()
    other = next(i for i, label in enumerate(labels) if label != labels[0])
    labels[0], labels[other] = labels[other], labels[0]
    return replace(table, "label", labels)


def flip_success(table: pa.Table) -> pa.Table:
    won = table.column("success").to_pylist()
    return replace(table, "success", [*won[:7], not won[7], *won[8:]])


def another_prediction(table: pa.Table) -> pa.Table:
    """A wrong answer that claims to be another wrong one: label and success still agree."""
    rows = zip(*(table.column(c).to_pylist() for c in ("success", "label")), strict=True)
    predictions = table.column("adversarial_prediction").to_pylist()
    row, (_, label) = next((i, pair) for i, pair in enumerate(rows) if pair[0])
    wrong = next(k for k in range(10) if k not in (label, predictions[row]))
    return change_row("adversarial_prediction", wrong, row)(table)


def another_picture(table: pa.Table) -> pa.Table:
    images = images_of(table).copy()
    images[7, 0, 0, 0] += 1
    return replace(table, "image", image_column(images))


def missing_row(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 7), table.slice(8)])


def repeated_row(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table.slice(7, 1)])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (one_pixel_too_far, "adversarial lies outside the ball: 1 times, first row 7"),
        (swap_labels, "label is not the dataset's: 2 times, first row 0"),
        (flip_success, "success does not follow from label, prediction and margin: 1 times"),
        (change_row("margin", 0.125), "margin is not the classifier's: 1 times, first row 7"),
        (change_row("clean_sha256", "0" * 64), "clean_sha256 is not the picture's: 1 times"),
        (change_row("l1", 0.25), "l1 is not the pictures' distance: 1 times, first row 7"),
        (change_row("l0", 65), "l0 is not the number of changed values: 1 times, first row 7"),
        (another_prediction, "adversarial_prediction is not the classifier's: 1 times"),
        (change_row("clean_prediction", -1), "clean_prediction is not the classifier's: 1 times"),
        (another_picture, "image is not the dataset's: 1 times, first row 7"),
        (missing_row, "a row is missing: 1 times, first row 7"),
        (repeated_row, "a row is there more than once: 1 times, first row 7"),
        (change_row("id", "digit-x"), "id is not the dataset's: 1 times, first row 7"),
        (change_row("row", 9), "a row is missing: 1 times, first row 7"),
        (change_row("row", 60), "a row is not one of those that the set covers: 1 times"),
        (change_row("split", "train"), "split is not the set's: 1 times, first row 7"),
        (change_row("linf", 3), "linf is not the pictures' distance: 1 times, first row 7"),
        (change_row("l2", 0.25), "l2 is not the pictures' distance: 1 times, first row 7"),
        (change_row("eps", 8), "eps is not the set's: 1 times, first row 7"),
        (change_row("target", 3), "target is not the set's: 1 times, first row 7"),
        (change_row("target", 99), "target is not the set's: 1 times, first row 7"),
        (change_row("seed", 2), "seed is not the set's: 1 times, first row 7"),
        (change_row("attack", "fgsm"), "attack is not the set's: 1 times, first row 7"),
    ],
)
def test_a_planted_fault_is_found_and_named(
    copied: Path,
    judge: Classifier,
    info: DatasetInfo,
    change: Callable[[pa.Table], pa.Table],
    fault: str,
) -> None:
    plant(copied, change)
    report = verify_perturbation_set(copied, judge, info)
    assert report.faults
    assert any(line.startswith(fault) for line in report.faults), report.faults


def test_a_fault_of_one_row_leaves_the_others_verified(
    copied: Path, judge: Classifier, info: DatasetInfo
) -> None:
    plant(copied, flip_success)
    report = verify_perturbation_set(copied, judge, info)
    assert len(report.faults) == 1
    assert (report.num_rows, report.num_verified) == (60, 59)


@pytest.mark.parametrize(
    ("keys", "value", "fault"),
    [
        (("counts", "successes"), 3, "the manifest's count of successes is wrong"),
        (("counts", "rows"), 61, "the manifest's count of rows is wrong"),
        (("model", "sha256"), "0" * 64, "the classifier is not the one that the set names"),
        (("dataset", "sha256"), "0" * 64, "the dataset is not the one that the set names"),
        (("attack", "eps"), 3, "adversarial lies outside the ball"),
        (("shards", 1, "sha256"), "0" * 64, "a shard's hash is not the manifest's"),
    ],
)
def test_a_manifest_that_claims_too_much_is_found(
    copied: Path,
    judge: Classifier,
    info: DatasetInfo,
    keys: tuple[str | int, ...],
    value: object,
    fault: str,
) -> None:
    manifest = read_json(copied / MANIFEST_FILE)
    place = manifest
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    write_json(copied / MANIFEST_FILE, manifest)
    report = verify_perturbation_set(copied, judge, info)
    assert any(line.startswith(fault) for line in report.faults), report.faults


def test_a_dataset_with_other_pictures_is_found(
    copied: Path, judge: Classifier, tmp_path: Path
) -> None:
    other = write_digits(tmp_path / "other", num_train=20, num_test=50)
    report = verify_perturbation_set(copied, judge, other)
    assert any("dataset is not the one" in line for line in report.faults)
    assert any("image is not the dataset's" in line for line in report.faults)


class TwoLead:
    """Says classes 3 and 5, the first ahead by ``lead`` or, below 0, behind."""

    sha256 = ""

    def __init__(self, lead: float) -> None:
        self.lead = lead

    def logits_of(self, images: np.ndarray) -> np.ndarray:
        logits = np.full((len(images), 10), -9.0, np.float32)
        logits[:, 3], logits[:, 5] = self.lead, 0.0
        return logits


def test_a_prediction_next_to_a_tie_is_counted_and_no_fault(
    inputs: Path, info: DatasetInfo
) -> None:
    manifest = read_json(inputs / "linf" / MANIFEST_FILE)
    clean = read_part(inputs / "digits" / info.splits["test"][0].file, 0, 25)
    table = read_part(inputs / "linf" / manifest["shards"][0]["file"], 0, 25)
    recorded = TwoLead(1e-5).logits_of(images_of(table))
    for name, values in (
        ("clean_prediction", [3] * 25),
        ("adversarial_prediction", [3] * 25),
        ("margin", margins_of(recorded, table.column("label").to_numpy()).tolist()),
        ("success", [False] * 25),
    ):
        table = replace(table, name, values)
    check = check_rows(table, clean, "test", manifest["attack"], TwoLead(-1e-5), tie=TIE * MARGIN)
    assert check.faults == ()
    assert check.num_near_ties == 25
    assert check_rows(table, clean, "test", manifest["attack"], TwoLead(-1e-5)).num_verified == 0


def test_the_exact_check_does_not_forgive_a_near_tie(
    inputs: Path, judge: Classifier, info: DatasetInfo
) -> None:
    record = read_json(inputs / "linf" / MANIFEST_FILE)["shards"][0]
    table = read_part(inputs / "linf" / record["file"], 0, 40)

    class Nudged:
        sha256 = judge.sha256

        def logits_of(self, images: np.ndarray) -> np.ndarray:
            logits = judge.logits_of(images).copy()
            logits[:, 3] = logits.max() + 1e-6
            return logits

    attack = read_json(inputs / "linf" / MANIFEST_FILE)["attack"]
    clean = read_part(inputs / "digits" / info.splits["test"][0].file, 0, 25)
    check = check_rows(table.slice(0, 25), clean, "test", attack, Nudged())
    assert check.num_verified < 25


def test_other_columns_are_a_user_error(copied: Path, judge: Classifier, info: DatasetInfo) -> None:
    plant(copied, lambda table: table.drop_columns(["steps"]))
    with pytest.raises(UserError, match="has not the columns of a perturbation set"):
        verify_perturbation_set(copied, judge, info)
