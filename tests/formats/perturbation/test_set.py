"""A perturbation set on disk: its columns, for any reader of Parquet, and its errors."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from perturbation_faults import settings, write_inputs, write_set

from pipeline.errors import UserError
from pipeline.formats.output import read_json, write_json
from pipeline.formats.perturbation.set import (
    MANIFEST_FILE,
    PerturbationColumns,
    open_perturbation_set,
    perturbation_table,
    schema,
)
from pipeline.formats.perturbation.target import UNTARGETED
from pipeline.formats.perturbation.verdict import margins_of, successes
from pipeline.formats.shard import images_of
from pipeline.perturbation_terms import MARGIN

ATTACK = {"attack": "pgd", "norm": "l2", "eps": 9, "steps": 4, "step_size": None, "seed": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perturbation-set")
    write_inputs(path)
    write_set(path, path / "set", settings(steps=2))
    return path / "set"


def small_table() -> pa.Table:
    images = np.full((3, 2, 2, 3), 100, np.uint8)
    adversarial = images.copy()
    adversarial[0, 0, 0, 0], adversarial[0, 1, 1, 2] = 104, 97
    adversarial[1, 1, 0, 1] = 90
    columns = PerturbationColumns(
        ids=["a", "b", "c"],
        split="test",
        rows=np.array([5, 6, 7]),
        labels=np.array([1, 1, 2]),
        images=images,
        adversarial=adversarial,
        clean_predictions=np.array([1, 0, 2]),
        adversarial_predictions=np.array([3, 3, 2]),
        margins=np.array([0.5, 2.0, -1.0]),
        found_attacks=["pgd"] * 3,
        found_restarts=np.array([0, 1, 0]),
        found_steps=np.array([3, 4, 0]),
        forwards=np.array([5, 11, 6]),
        backwards=np.array([3, 9, 4]),
    )
    return perturbation_table(columns, ATTACK)


def test_a_table_holds_the_distances_of_the_stored_pictures() -> None:
    table = small_table()
    assert table.schema.equals(schema((2, 2, 3)))
    assert table.column("linf").to_pylist() == [4, 10, 0]
    assert table.column("l2").to_pylist() == pytest.approx([5 / 255, 10 / 255, 0])
    assert table.column("l1").to_pylist() == pytest.approx([7 / 255, 10 / 255, 0])
    assert table.column("l0").to_pylist() == [2, 1, 0]
    assert table.column("eps").to_pylist() == [9, 9, 9]
    assert table.column("row").to_pylist() == [5, 6, 7]
    same = hashlib.sha256(bytes([100] * 12)).hexdigest()
    assert table.column("clean_sha256").to_pylist() == [same] * 3


def test_success_is_a_right_answer_made_wrong_by_more_than_the_margin() -> None:
    label, clean = np.array([[0, 0], [0, 0], [0, 1], [0, 0]]).T
    margins = np.array([-1.0, 1.0, 1.0, MARGIN])
    assert successes(label, clean, margins, None, MARGIN).tolist() == [False, True, False, False]
    assert small_table().column("success").to_pylist() == [True, False, False]


def test_with_a_target_success_is_that_answer_and_no_other() -> None:
    label, clean = np.array([[0, 0], [0, 0], [0, 1], [2, 2]]).T
    margins = np.array([-1.0, 1.0, 1.0, 1.0])
    targets = np.array([2, 2, 2, 2])
    assert successes(label, clean, margins, targets, MARGIN).tolist() == [False, True, False, False]


def test_with_a_target_the_margin_is_its_lead_over_the_best_other_class() -> None:
    logits = np.array([[1.0, 3.0, 2.5], [0.0, -2.0, -5.0], [0.0, -2.0, -5.0]], np.float32)
    labels = np.array([2, 0, 0])
    found = margins_of(logits, labels, np.array([1, 2, UNTARGETED]))
    assert found.tolist() == [0.5, -5.0, -2.0]


def test_a_margin_is_the_lead_of_the_best_other_class() -> None:
    logits = np.array([[1.0, 3.0, 2.5], [0.0, -2.0, -5.0]], np.float32)
    assert margins_of(logits, np.array([2, 0])).tolist() == [0.5, -2.0]


def test_plain_pyarrow_reads_a_shard_back(made: Path) -> None:
    shard = open_perturbation_set(made).shards[0]
    table = pq.read_table(made / shard.file)
    assert table.num_rows == shard.num_rows
    flat = table.column("adversarial").combine_chunks().storage.flatten().to_numpy()
    assert np.array_equal(flat.reshape(-1, 8, 8, 1), images_of(table, "adversarial"))
    assert not np.array_equal(images_of(table, "adversarial"), images_of(table))


def test_the_manifest_says_what_was_done_to_what(made: Path) -> None:
    opened = open_perturbation_set(made)
    assert (opened.split, opened.start, opened.stop) == ("test", 0, 60)
    assert opened.attack["norm"] == "linf"
    assert [shard.num_rows for shard in opened.shards] == [40, 20]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "is not a perturbation set's"),
        ({"kind": "sample-set"}, "is not a perturbation set's"),
        ({"attack": None}, "is not a perturbation set's"),
        ({"model": {}}, "is not a perturbation set's"),
        ({"shards": [{"file": "x"}]}, "does not list its shards"),
    ],
)
def test_another_manifest_is_a_user_error(
    made: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    copied = Path(shutil.copytree(made, tmp_path / "set"))
    write_json(copied / MANIFEST_FILE, {**read_json(copied / MANIFEST_FILE), **change})
    with pytest.raises(UserError, match=message):
        open_perturbation_set(copied)


def test_an_unfinished_set_and_a_lost_shard_are_user_errors(made: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(made, tmp_path / "set"))
    (copied / open_perturbation_set(copied).shards[1].file).unlink()
    with pytest.raises(UserError, match="is missing"):
        open_perturbation_set(copied)
    (copied / MANIFEST_FILE).unlink()
    with pytest.raises(UserError, match="no finished perturbation set"):
        open_perturbation_set(copied)
