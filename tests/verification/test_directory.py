"""A check of a directory finds every planted fault by file and row, and none in honest sets."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from perturbation_faults import replace, settings, write_inputs, write_set
from planted_sets import (
    change_cell,
    entry_of,
    manifest_file,
    rehash,
    replant,
    without_row,
    write_dataset,
    write_samples,
)

from pipeline.errors import UserError
from pipeline.formats.model import save_model
from pipeline.formats.output import read_json, write_json
from pipeline.formats.quarantine import BadRow, write_quarantine
from pipeline.formats.shard import image_column, images_of, read_part, write_shard
from pipeline.verification.directory import verify_directory

TRAIN, MORE, TEST = (
    "train/part-00000.parquet",
    "train/part-00001.parquet",
    "test/part-00001.parquet",
)
ASIDE = "quarantine/part-00000.parquet"
FIRST, SECOND = "part-00000.parquet", "part-00001.parquet"
LATER = "part-00040.parquet"  # the second one of the perturbation set


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of each kind; dataset and perturbations come with a quarantine or without."""
    path = tmp_path_factory.mktemp("honest")
    write_dataset(path / "dataset")
    write_dataset(path / "quarantined", bad=(2, 6, 7))
    write_samples(path / "samples")
    write_inputs(path)
    write_set(path, path / "perturbations", settings(steps=1))
    weights = {"net": {"w": torch.ones(3)}}
    save_model(path / "model", kind="stack", config={}, weights=weights, card={})
    return path


@pytest.fixture
def copied(honest: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copytree(honest / kind, tmp_path / kind))


def faults(path: Path, **options: Any) -> list[str]:
    found = verify_directory(path, **options).faults
    assert bool(found.lines()) == bool(len(found))
    return found.lines()


@pytest.mark.parametrize(
    ("name", "kind", "rows", "aside", "files"),
    [
        ("dataset", "dataset", 12, 0, 3),
        ("quarantined", "dataset", 9, 3, 3),
        ("samples", "sample set", 9, 0, 2),
        ("perturbations", "perturbation set", 60, 0, 2),
        ("model", "stack", 0, 0, 2),
    ],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_an_honest_set_has_no_fault(
    honest: Path, name: str, kind: str, rows: int, aside: int, files: int, threads: int
) -> None:
    found = verify_directory(honest / name, threads=threads, rows_in_memory=2)
    assert found.faults.lines() == []
    assert (found.kind, found.num_rows, found.num_quarantined) == (kind, rows, aside)
    assert found.num_files == files


@pytest.mark.parametrize(
    ("kind", "file"), [("dataset", MORE), ("samples", SECOND), ("quarantined", ASIDE)]
)
def test_bytes_that_differ_are_found(copied: Callable[[str], Path], kind: str, file: str) -> None:
    path = copied(kind)
    content = bytearray((path / file).read_bytes())
    content[len(content) // 2] ^= 1
    (path / file).write_bytes(content)
    assert f"{file}: has not the recorded SHA-256" in faults(path)
    (path / file).write_bytes(content[:-9])
    lines = faults(path)
    assert f"{file}: has {len(content) - 9} bytes where {len(content)} are recorded" in lines
    assert any(line.startswith(f"{file}: ") and "is not a Parquet file" in line for line in lines)
    (path / file).unlink()
    assert faults(path) == [f"{file}: is missing"]


def test_each_flipped_byte_of_a_shard_is_found(copied: Callable[[str], Path]) -> None:
    path = copied("samples")
    content = (path / FIRST).read_bytes()
    for place in range(0, len(content), 41):
        flipped = bytearray(content)
        flipped[place] ^= 0x10
        (path / FIRST).write_bytes(flipped)
        assert f"{FIRST}: has not the recorded SHA-256" in faults(path), place


def test_a_removed_row_with_all_hashes_made_anew_is_found(copied: Callable[[str], Path]) -> None:
    path = copied("dataset")
    replant(path, MORE, without_row(1))
    assert faults(path) == [
        "dataset.json: says 9 rows of train, and its files hold 8",
        "dataset.json: says 12 rows read, and its files hold 11",
        "dataset.json: says 12 rows written, and its files hold 11",
        "dataset.json: says 12 rows in its source, and its files hold 11",
    ]
    path = copied("samples")
    replant(path, FIRST, without_row(1))
    assert faults(path) == [
        "manifest.json: says 9 rows, and its files hold 8",
        "manifest.json: says 9 rows asked for, and its files hold 8",
        f"{FIRST}: row 1: sample_index is 2 where 1 follows",
    ]
    manifest = read_json(manifest_file(path))
    manifest["num_rows"] = manifest["origin"]["count"] = 8
    rehash(path, manifest)
    assert faults(path) == [
        f"{FIRST}: row 1: sample_index is 2 where 1 follows",
        "manifest.json: covers rows up to 8, and its files those up to 9",
    ]
    path = copied("perturbations")
    replant(path, LATER, without_row(19))
    assert "manifest.json: covers rows up to 60, and its files those up to 59" in faults(path)


def test_a_shard_with_other_rows_than_the_manifest_says_is_found(
    copied: Callable[[str], Path],
) -> None:
    path = copied("samples")
    manifest = read_json(manifest_file(path))
    entry_of(manifest, SECOND)["num_rows"] = 3
    manifest["num_rows"] = 8
    rehash(path, manifest)
    assert f"{SECOND}: has 4 rows where 3 are recorded" in faults(path)


@pytest.mark.parametrize("rows_in_memory", [1, 100])
def test_an_id_that_comes_twice_is_found_across_shards_and_splits(
    copied: Callable[[str], Path], rows_in_memory: int
) -> None:
    path = copied("dataset")
    replant(path, TEST, change_cell("id", 1, "row-3"))
    assert faults(path, rows_in_memory=rows_in_memory) == [
        f"{TEST}: row 1: has the same id as row 3 of {TRAIN}"
    ]


def test_an_id_that_is_written_and_quarantined_is_found(copied: Callable[[str], Path]) -> None:
    path = copied("quarantined")
    replant(path, ASIDE, change_cell("id", 0, "row-8"))
    assert faults(path) == [f"{ASIDE}: row 0: has the same id as row 1 of {MORE}"]


@pytest.mark.parametrize(
    ("kind", "file", "label", "told"),
    [
        ("dataset", MORE, 2, "label 2 lies outside 0 to 1"),
        ("dataset", MORE, -1, "label -1 lies outside 0 to 1"),
        ("samples", SECOND, 2, "label 2 lies outside -1 to 1"),
        ("samples", SECOND, -2, "label -2 lies outside -1 to 1"),
        ("perturbations", LATER, 10, "label 10 lies outside 0 to 9"),
        ("samples", SECOND, None, "has no label"),
    ],
)
def test_a_label_outside_the_classes_is_found(
    copied: Callable[[str], Path], kind: str, file: str, label: int | None, told: str
) -> None:
    path = copied(kind)
    replant(path, file, change_cell("label", 3, label))
    first, *more = faults(path)
    assert first == f"{file}: row 3: {told}"
    # What else a perturbation's label implies is told as well.
    assert not more or kind == "perturbations"


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        (SECOND, change_cell("id", 2, "5-8"), "row 2: id is not seed-sample_index"),
        (SECOND, change_cell("id", 2, None), "row 2: has no id"),
        (FIRST, change_cell("seed", 0, 6), "row 0: seed is not 5"),
        (SECOND, change_cell("sample_index", 3, 9), "row 3: sample_index is 9 where 8 follows"),
        (SECOND, change_cell("sample_index", 2, 6), "row 2: sample_index is 6 after 6"),
        (FIRST, change_cell("sample_index", 0, 1), "row 0: sample_index is 1 where 0 follows"),
        (FIRST, lambda table: table.take([1, 0, 2, 3, 4]), "row 1: sample_index is 0 after 1"),
    ],
)
def test_keys_of_samples_that_do_not_hold_are_found(
    copied: Callable[[str], Path], file: str, change: Callable[[pa.Table], pa.Table], told: str
) -> None:
    path = copied("samples")
    replant(path, file, change)
    assert f"{file}: {told}" in faults(path)


def test_other_columns_are_found(copied: Callable[[str], Path]) -> None:
    def change(table: pa.Table) -> pa.Table:
        labels = table.column("label").cast(pa.int32())
        table = table.drop_columns(["label", "seed"]).append_column("label", labels)
        return table.append_column("extra", labels)

    path = copied("samples")
    replant(path, FIRST, change)
    assert faults(path) == [
        f"{FIRST}: has a column 'extra' too many",
        f"{FIRST}: has no column 'seed'",
        f"{FIRST}: column label is int32, not int64",
    ]


def test_captions_of_samples_are_no_column_too_many(copied: Callable[[str], Path]) -> None:
    path = copied("samples")
    for file, count in ((FIRST, 5), (SECOND, 4)):
        captions = pa.array(["a"] * count, pa.string())
        replant(path, file, lambda table, added=captions: table.append_column("caption", added))
    assert faults(path) == []


def test_pictures_of_another_shape_than_the_manifest_says_are_found(
    copied: Callable[[str], Path],
) -> None:
    path = copied("samples")
    manifest = read_json(manifest_file(path))
    manifest["shape"] = [3, 2, 1]
    rehash(path, manifest)
    line, other = faults(path)
    assert line.startswith(f"{FIRST}: column image is ")
    assert other.startswith(f"{SECOND}: column image is ")


@pytest.mark.parametrize("kind", ["dataset", "quarantined", "samples", "perturbations"])
def test_an_edit_anywhere_in_a_manifest_is_found(copied: Callable[[str], Path], kind: str) -> None:
    path = copied(kind)
    manifest = read_json(manifest_file(path))
    for key in manifest:
        write_json(manifest_file(path), {**manifest, key: changed(manifest[key])})
        assert faults(path), key


def changed(value: Any) -> Any:
    """The value with one of its leaves changed."""
    if isinstance(value, dict) and value:
        key = next(iter(value))
        return {**value, key: changed(value[key])}
    if isinstance(value, list) and value:
        return [changed(value[0]), *value[1:]]
    return value + 1 if isinstance(value, int) else f"{value}x"


def test_an_edited_manifest_does_not_hide_what_else_is_wrong(
    copied: Callable[[str], Path],
) -> None:
    path = copied("dataset")
    manifest = read_json(manifest_file(path))
    manifest["classes"] = ["a"]
    write_json(manifest_file(path), manifest)
    lines = faults(path)
    assert "dataset.json: was changed by hand: its seal is broken" in lines
    assert "dataset.json: was changed by hand: its content hash is wrong" in lines
    assert f"{TRAIN}: row 1: label 1 lies outside 0 to 0" in lines


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not valid JSON"),
        ("[]", "has no attribute"),
        (json.dumps({"kind": "cake"}), "its kind is 'cake'"),
        (json.dumps({"kind": "sample_set", "shape": [1]}), "is not complete"),
    ],
)
def test_a_manifest_that_says_nothing_is_a_fault(
    copied: Callable[[str], Path], text: str, told: str
) -> None:
    path = copied("samples")
    manifest_file(path).write_text(text)
    assert any(told in line for line in faults(path))


def test_stray_files_and_leftovers_are_found(copied: Callable[[str], Path]) -> None:
    path = copied("samples")
    shutil.copy(path / FIRST, path / "part-00002.parquet")
    (path / "records").mkdir()
    (path / ".part-00001.parquet.tmp-0123abcd").touch()
    (path / "grid.png").touch()
    assert faults(path) == [
        "records/: is left over from a run that was cut off; give its command again",
        ".part-00001.parquet.tmp-0123abcd: is a temporary file of a run that was cut off",
        "part-00002.parquet: is not listed in the manifest",
    ]


def test_a_set_without_its_manifest_is_unfinished(copied: Callable[[str], Path]) -> None:
    path = copied("dataset")
    manifest_file(path).unlink()
    assert faults(path) == [f"{path}: has no manifest: its job has not finished"]


def test_a_run_that_has_only_begun_is_unfinished_and_other_directories_are_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="perturbation set, certificate set, embedding set, export"):
        verify_directory(tmp_path)
    run = {"format": 1, "fingerprint": {"job": "train_stack"}}
    write_json(tmp_path / "run.json", run)
    assert faults(tmp_path) == [f"{tmp_path}: has no model/card.json: training has not finished"]
    write_json(tmp_path / "run.json", {**run, "fingerprint": {"job": "evaluate"}})
    assert faults(tmp_path) == [f"{tmp_path}: has no evaluation.json: its job has not finished"]
    write_json(tmp_path / "run.json", {**run, "fingerprint": {"job": "generate"}})
    assert faults(tmp_path) == [f"{tmp_path}: has no manifest: its job has not finished"]


def test_counts_that_do_not_add_up_are_found(copied: Callable[[str], Path]) -> None:
    path = copied("quarantined")
    manifest = read_json(manifest_file(path))
    manifest["counts"] = {"read": 12, "written": 9, "quarantined": 2}
    rehash(path, manifest)
    assert faults(path) == ["dataset.json: says 2 rows quarantined, and its files hold 3"]


def test_a_quarantine_whose_rows_do_not_ascend_is_found(copied: Callable[[str], Path]) -> None:
    path = copied("quarantined")
    replant(path, ASIDE, change_cell("row", 1, 2))
    assert faults(path) == [f"{ASIDE}: row 1: row is 2 after 2"]


def test_a_few_faults_of_a_kind_are_told_and_the_others_counted(
    copied: Callable[[str], Path],
) -> None:
    path = copied("dataset")
    for file in (TRAIN, MORE):
        replant(path, file, lambda table: table.set_column(2, "label", pa.array([7] * len(table))))
    found = verify_directory(path, limit=2).faults
    assert len(found) == 9
    assert found.lines() == [
        f"{TRAIN}: row 0: label 7 lies outside 0 to 1",
        f"{TRAIN}: row 1: label 7 lies outside 0 to 1",
        "... and 7 more: a label outside the classes",
    ]


@pytest.mark.parametrize("file", ["net.safetensors", "config.json", "card.json"])
def test_a_model_with_a_changed_or_missing_file_is_found(
    copied: Callable[[str], Path], file: str
) -> None:
    path = copied("model")
    content = (path / file).read_bytes()
    digest = content.find(b"content_sha256") + 20
    (path / file).write_bytes(content[:digest] + b"z" + content[digest + 1 :])
    told = "content hash" if file == "card.json" else "has another hash"
    assert told in faults(path)[0]
    if file != "card.json":
        (path / file).unlink()
        assert f"it has no {file}" in faults(path)[0]


def test_weights_that_the_card_does_not_list_are_found(copied: Callable[[str], Path]) -> None:
    path = copied("model")
    shutil.copy(path / "net.safetensors", path / "old.safetensors")
    assert faults(path) == ["old.safetensors: is not listed in card.json"]


def test_a_shard_of_many_row_groups_and_batches_is_numbered_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.verification.file_check._BATCH_ROWS", 2)
    path = write_samples(tmp_path)
    assert faults(path) == []
    replant(path, FIRST, change_cell("label", 4, 9))
    assert faults(path) == [f"{FIRST}: row 4: label 9 lies outside -1 to 1"]


def test_progress_is_told_of_every_row(honest: Path) -> None:
    totals, rows = [], []

    def progress(total: int) -> Callable[[int], None]:
        totals.append(total)
        return rows.append

    verify_directory(honest / "quarantined", progress=progress)
    assert totals == [12]
    assert sum(rows) == 12


def test_perturbations_and_their_quarantine_are_numbered_through_together(
    copied: Callable[[str], Path],
) -> None:
    path = copied("perturbations")
    table = read_part(path / LATER, 0, 20)
    aside = BadRow(table["id"][3].as_py(), 43, "row 43", "it is bad")
    manifest = read_json(manifest_file(path))
    manifest["quarantine"] = write_quarantine([aside], path, LATER)
    manifest["counts"] = {"read": 60, "rows": 59, "quarantined": 1}
    for figure in [name for name in manifest if "accuracy" in name or name == "norms"]:
        del manifest[figure]
    rehash(path, manifest)
    replant(path, LATER, without_row(3))
    found = verify_directory(path)
    assert found.faults.lines() == []
    assert (found.num_rows, found.num_quarantined) == (59, 1)
    replant(path, f"quarantine/{LATER}", change_cell("row", 0, 44))
    assert f"{LATER}: row 3: row is 44 where 43 follows" in faults(path)


def one_level_too_far(table: pa.Table) -> pa.Table:
    """A value of row 7 one level beyond the ball; the distances agree with it."""
    clean, stored = images_of(table), images_of(table, "adversarial").copy()
    flat = clean[7].ravel().astype(int)
    place = int(np.abs(flat - 100).argmin())
    stored[7].ravel()[place] = flat[place] + 41
    table = replace(table, "adversarial", image_column(stored))
    change = stored.astype(int) - clean
    for name, sizes in (
        ("linf", np.abs(change).max(axis=(1, 2, 3))),
        ("l2", np.sqrt((change**2).sum(axis=(1, 2, 3)).astype(float)) / 255),
        ("l1", np.abs(change).sum(axis=(1, 2, 3)) / 255),
        ("l0", (change != 0).sum(axis=(1, 2, 3))),
    ):
        table = replace(table, name, sizes.tolist())
    return table


def of_another_success(column: str, change: Callable[[Any], object]) -> Any:
    """Changes a column of the first row that is a success."""

    def changed(table: pa.Table) -> pa.Table:
        row = table["success"].to_pylist().index(True)
        return change_cell(column, row, change(table[column][row].as_py()))(table)

    return changed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (one_level_too_far, "row 7: adversarial lies outside the ball"),
        (
            of_another_success("success", lambda old: False),
            "success does not follow from label, prediction and margin",
        ),
        (
            of_another_success("margin", lambda old: 1e-9),
            "success does not follow from label, prediction and margin",
        ),
        (of_another_success("margin", lambda old: float("nan")), "margin is not a finite number"),
        (
            of_another_success("margin", lambda old: -old),
            "adversarial_prediction does not follow from margin",
        ),
        (change_cell("clean_sha256", 7, "0" * 64), "row 7: clean_sha256 is not the picture's"),
        (change_cell("linf", 7, 3), "row 7: linf is not the pictures' distance"),
        (change_cell("l2", 7, 0.25), "row 7: l2 is not the pictures' distance"),
        (change_cell("l2", 7, float("nan")), "row 7: l2 is not the pictures' distance"),
        (change_cell("l1", 7, 0.25), "row 7: l1 is not the pictures' distance"),
        (change_cell("l0", 7, 65), "row 7: l0 is not the number of changed values"),
        (change_cell("clean_prediction", 7, -1), "row 7: a prediction is none of the classes"),
        (change_cell("adversarial_prediction", 7, 10), "row 7: a prediction is none of the class"),
        (change_cell("target", 7, 3), "row 7: target is not the set's"),
        (change_cell("split", 7, "train"), "row 7: split is not the set's"),
        (change_cell("attack", 7, "fgsm"), "row 7: attack is not the set's"),
        (change_cell("norm", 7, "l2"), "row 7: norm is not the set's"),
        (change_cell("eps", 7, 8), "row 7: eps is not the set's"),
        (change_cell("steps", 7, 8), "row 7: steps is not the set's"),
        (change_cell("seed", 7, 8), "row 7: seed is not the set's"),
        (change_cell("draws", 7, 2), "row 7: draws is not the set's"),
        (change_cell("forwards", 7, 900), "says counts forwards "),
        (change_cell("backwards", 7, -1), "row 7: a count of steps or passes is below 0"),
        (change_cell("found_step", 7, -1), "row 7: a count of steps or passes is below 0"),
        (change_cell("label", 7, None), "row 7: has no label"),
    ],
)
def test_a_perturbation_that_contradicts_itself_is_found_though_all_hashes_agree(
    copied: Callable[[str], Path], change: Callable[[pa.Table], pa.Table], told: str
) -> None:
    path = copied("perturbations")
    replant(path, FIRST, change)
    assert any(told in line for line in faults(path)), faults(path)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("counts", "successes"), 3),
        (("counts", "within_threshold"), 3),
        (("counts", "unmoved"), 59),
        (("clean_accuracy",), 0.5),
        (("robust_accuracy",), 0.999),
        (("robust_accuracy_interval_95",), [0.9, 1.0]),
        (("norms", "l2_mean"), 0.01),
        (("norms", "linf_max_levels"), 8),
        (("attack", "threshold"), 50.0),
        (("attack", "threshold_rows"), 0),
        (("attack", "eps"), 8),
        (("attack", "norm"), "l3"),
        (("attack", "target"), "7"),
        (("warnings",), [{"code": "unmoved", "count": 1, "of": 9, "text": ""}]),
    ],
)
def test_a_manifest_that_its_rows_contradict_is_found_though_all_hashes_agree(
    copied: Callable[[str], Path], keys: tuple[str, ...], value: object
) -> None:
    path = copied("perturbations")
    manifest = read_json(manifest_file(path))
    place = manifest
    for key in keys[:-1]:
        place = place[key]
    assert place[keys[-1]] != value
    place[keys[-1]] = value
    rehash(path, manifest)
    assert faults(path)


def test_rows_are_looked_at_though_the_file_has_another_hash(copied: Callable[[str], Path]) -> None:
    path = copied("perturbations")
    entry = entry_of(read_json(manifest_file(path)), FIRST)
    table = read_part(path / FIRST, 0, entry["num_rows"])
    write_shard(change_cell("l0", 7, 65)(table), path, FIRST)
    found = faults(path)
    assert len(found) == 2
    assert "has another" in found[0] or "bytes where" in found[0] or "SHA-256" in found[0]
    assert found[1] == f"{FIRST}: row 7: l0 is not the number of changed values"


@pytest.mark.parametrize(
    "rule", [{"in_turn": [-1, 0, 1]}, {"per_class": [[-1, 3], [0, 3], [1, 3]]}]
)
def test_a_sample_whose_label_is_not_its_turns_is_found(
    copied: Callable[[str], Path], rule: dict[str, Any]
) -> None:
    path = copied("samples")
    manifest = read_json(manifest_file(path))
    manifest["origin"]["labels"] = rule
    rehash(path, manifest)
    assert faults(path) == []
    replant(path, SECOND, change_cell("label", 1, 0))
    assert faults(path) == [f"{SECOND}: row 1: label is not what the manifest's rule gives it"]


def test_a_folder_of_folders_is_told_which_of_them_can_be_verified(tmp_path: Path) -> None:
    for name, file in (("stack", "run.json"), ("samples", "manifest.json"), ("notes", "a.txt")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    with pytest.raises(UserError, match=r"give one of its folders: samples, stack$"):
        verify_directory(tmp_path)
