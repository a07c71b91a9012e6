"""The command `verify`: one line a fault, a count at the end, and the exit code for a script."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from perturbation_faults import plant, settings, write_inputs, write_set
from planted_sets import change_cell, manifest_file, rehash, replant, write_dataset, write_samples

from jobs.common.records import record_path, remove_records
from noisestack.__main__ import main
from pipeline.formats.output import read_json

TRAIN = "train/part-00000.parquet"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify")
    write_inputs(path)
    write_set(path, path / "set", settings(steps=1))
    return path


def a_larger_margin(table: pa.Table) -> pa.Table:
    """Of a broken row, from which nothing else in the set follows."""
    row = table["success"].to_pylist().index(True)
    return change_cell("margin", row, table["margin"][row].as_py() + 0.5)(table)


def verify(*arguments: object) -> int:
    return main(["verify", *map(str, arguments)])


def test_an_honest_set_is_praised_with_its_counts_and_exit_code_0(
    tmp_path: Path, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, told in (
        (write_dataset(tmp_path / "d"), "ok: dataset, 12 rows in 3 shards"),
        (write_dataset(tmp_path / "q", bad=(3,)), "ok: dataset, 11 rows in 3 shards, 1 quarantin"),
        (write_samples(tmp_path / "s"), "ok: sample set, 9 rows in 2 shards"),
        (inputs / "set", "ok: perturbation set, 60 rows in 2 shards"),
        (inputs / "classifier", "ok: classifier, 2 files"),
    ):
        assert verify(path) == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith(told)


def test_faults_are_told_a_line_each_with_their_number_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_dataset(tmp_path)
    replant(path, TRAIN, change_cell("label", 2, 4))
    assert verify(path) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{TRAIN}: row 2: label 4 lies outside 0 to 1",
        "1 fault",
    ]
    replant(path, TRAIN, change_cell("label", 0, 5))
    (path / "test/part-00001.parquet").unlink()
    assert verify(path, "--limit", "1", "--threads", "2") == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{TRAIN}: row 0: label 5 lies outside 0 to 1",
        "... and 1 more: a label outside the classes",
        "test/part-00001.parquet: is missing",
        "3 faults",
    ]


def test_the_account_of_a_batch_job_is_known_as_a_leftover(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_dataset(tmp_path)
    record_path(path, {"index": 0, "file": "part-00000.parquet"}).parent.mkdir(parents=True)
    assert verify(path) == 1
    assert "is left over from a run that was cut off" in capsys.readouterr().out
    remove_records(path)
    assert verify(path) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "missing: DIRECTORY; give it here or in the --config file"),
        (["/nonexistent/set"], "there is no directory /nonexistent/set; check the path"),
        (
            ["{empty}"],
            "perturbation set, certificate set, embedding set, export, model",
        ),
        (
            ["{set}", "--dataset", "x"],
            "dataset and classifier are given together, or neither (of a stack that is its own",
        ),
        (
            ["{digits}", "--dataset", "{digits}", "--classifier", "{classifier}"],
            "holds no finished perturbation set",
        ),
        (["{set}", "--dataset", "/nonexistent", "--classifier", "{classifier}"], "no dataset dir"),
        (["{set}", "--limit", "0"], "--limit: should be greater than or equal to 1"),
    ],
)
def test_misuse_is_told_in_one_line_with_exit_code_2(
    tmp_path: Path,
    inputs: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    places = {name: inputs / name for name in ("set", "digits", "classifier")}
    assert verify(*(word.format(empty=tmp_path, **places) for word in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert told in line


def test_dataset_and_classifier_show_what_the_manifest_alone_cannot(
    tmp_path: Path, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(inputs / "set", tmp_path / "set"))
    models = ["--dataset", inputs / "digits", "--classifier", inputs / "classifier"]
    assert verify(path, *models) == 0
    flipped = read_json(path / "manifest.json")["shards"][0]["file"]
    plant(path, a_larger_margin)
    rehash(path, read_json(manifest_file(path)))
    assert verify(path) == 0
    capsys.readouterr()
    assert verify(path, *models) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("margin is not the classifier's: 1 times" in line for line in lines)
    (path / flipped).unlink()
    assert verify(path, *models) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{flipped}: is missing",
        f"the rows could not be compared with dataset and classifier: {path / flipped} is "
        f"missing; copy {path} whole, or make it anew",
        "2 faults",
    ]
