"""A check of a directory finds every planted fault by file and row, and none in honest sets."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from perturbation_faults import settings, write_inputs, write_set
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
from pipeline.formats.shard import read_part
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
    assert faults(path) == [f"{file}: row 3: {told}"]


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
    with pytest.raises(UserError, match="holds no dataset, sample set, perturbation set or model"):
        verify_directory(tmp_path)
    run = {"format": 1, "fingerprint": {"job": "train_stack"}}
    write_json(tmp_path / "run.json", run)
    with pytest.raises(UserError, match="holds no dataset"):
        verify_directory(tmp_path)
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
    manifest["counts"].update(rows=59, quarantined=1)
    rehash(path, manifest)
    replant(path, LATER, without_row(3))
    found = verify_directory(path)
    assert found.faults.lines() == []
    assert (found.num_rows, found.num_quarantined) == (59, 1)
    replant(path, f"quarantine/{LATER}", change_cell("row", 0, 44))
    assert f"{LATER}: row 3: row is 44 where 43 follows" in faults(path)
