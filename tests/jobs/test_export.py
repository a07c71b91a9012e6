"""The export job: every row of every split in files of the asked size; finished ones stay."""

import contextlib
from pathlib import Path

import planted_sets
import pyarrow.parquet as pq
import pytest
from in_this_process import in_this_process

from jobs import export
from noisestack.__main__ import main
from pipeline.formats.output import read_json, sha256_of_file


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "run_shards", in_this_process)
    monkeypatch.setattr(export, "ray_session", contextlib.nullcontext)


def test_each_split_is_cut_into_files_of_the_asked_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted_sets.write_dataset(tmp_path / "set")
    arguments = ["export", str(tmp_path / "set"), "--output", str(tmp_path / "out")]
    arguments += ["--rows-per-file", "4"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "train     9 rows in 3 files\ntest      3 rows in 1 file\n" in told
    files = sorted((tmp_path / "out" / "data").iterdir())
    assert [file.name for file in files] == [
        "test-00000-of-00001.parquet",
        "train-00000-of-00003.parquet",
        "train-00001-of-00003.parquet",
        "train-00002-of-00003.parquet",
    ]
    ids = [name for file in files[1:] for name in pq.read_table(file)["id"].to_pylist()]
    assert ids == [f"row-{row}" for row in range(9)]
    info = read_json(tmp_path / "out" / "export.json")
    assert info["num_rows"] == {"train": 9, "test": 3}
    assert info["source"]["kind"] == "dataset"
    for entry in [*info["splits"]["train"], *info["splits"]["test"]]:
        assert entry["sha256"] == sha256_of_file(tmp_path / "out" / entry["file"])
    before = [file.stat().st_mtime_ns for file in files]
    assert main(arguments) == 0  # a finished export is left as it is, and told again
    assert capsys.readouterr().out == told
    assert [file.stat().st_mtime_ns for file in files] == before
    assert not (tmp_path / "out" / "records").exists()


def test_another_set_is_not_mixed_into_an_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted_sets.write_dataset(tmp_path / "one")
    planted_sets.write_dataset(tmp_path / "two", bad=[3])
    output = ["--output", str(tmp_path / "out")]
    assert main(["export", str(tmp_path / "one"), *output]) == 0
    assert main(["export", str(tmp_path / "two"), *output]) == 2
    assert "holds the results of another config (sha256 is" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "two"), *output, "--overwrite"]) == 0
    assert pq.read_table(tmp_path / "out/data/train-00000-of-00001.parquet").num_rows == 8


def test_verify_finds_what_happened_to_an_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted_sets.write_dataset(tmp_path / "set")
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "set"), "--output", str(out)]) == 0
    assert main(["verify", str(out)]) == 0
    assert capsys.readouterr().out.endswith("ok: export, 12 rows in 2 shards\n")
    train, test = (out / f"data/{name}-00000-of-00001.parquet" for name in ("train", "test"))
    train.write_bytes(train.read_bytes()[:-1] + b"x")
    test.rename(test.with_name("more.parquet"))
    manifest = (out / "export.json").read_text()
    (out / "export.json").write_text(manifest.replace('"train": 9', '"train": 8'))
    assert main(["verify", str(out)]) == 1
    told = capsys.readouterr().out
    for fault in (
        "export.json: was changed by hand",
        "export.json: says 8 rows of train, and its files have 9",
        f"{train.name}: has not the recorded SHA-256",
        f"{train.name}: {train} is not a Parquet file",
        f"{test.name}: is missing",
        "more.parquet: is not listed",
    ):
        assert fault in told


def test_an_export_into_the_set_itself_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted_sets.write_dataset(tmp_path / "set")
    for output in (tmp_path / "set", tmp_path / "set" / "export"):
        assert main(["export", str(tmp_path / "set"), "--output", str(output)]) == 2
        assert "lies in the set itself" in capsys.readouterr().err


def test_a_directory_that_holds_no_set_is_told_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "is no finished dataset, sample set or perturbation set" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
