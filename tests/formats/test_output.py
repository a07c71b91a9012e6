"""Atomic files and claimed directories: what is interrupted leaves the old results as they were."""

import errno
import json
import os
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.formats import output
from pipeline.formats.output import (
    atomic_path,
    claim_output,
    read_json,
    restore_directory,
    sha256_of_file,
    sha256_of_json,
    swap_directory,
    sweep_temporary,
    temporary_sibling,
    write_bytes,
    write_json,
    write_text,
)


def names(directory: Path) -> list[str]:
    return sorted(str(file.relative_to(directory)) for file in directory.rglob("*"))


def test_a_user_error_is_one_line_whatever_it_quotes() -> None:
    assert str(UserError("a\n  b;\tc")) == "a b; c"


def test_written_json_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "er" / "a.json", {"b": [1, 2.5, "ü"], "a": None})
    assert read_json(tmp_path / "deep" / "er" / "a.json") == {"b": [1, 2.5, "ü"], "a": None}


def test_nan_is_refused_since_it_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_damaged_json_file_is_a_user_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_a_missing_json_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_json(tmp_path / "a.json")


def test_hashes_are_those_of_sha256() -> None:
    # The published digest of the three bytes "abc" (FIPS 180-2, appendix B.1).
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    file = Path(os.devnull)
    assert sha256_of_file(file) == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert sha256_of_json("abc") != abc  # the quotation marks belong to the JSON form
    assert sha256_of_json({"b": 1, "a": (2,)}) == sha256_of_json({"a": [2], "b": 1})


def test_a_file_larger_than_the_read_buffer_is_hashed_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "abc", b"abc")
    assert sha256_of_file(tmp_path / "abc").startswith("ba7816bf8f01cfea")
    write_bytes(tmp_path / "a", bytes(3 << 20))
    write_bytes(tmp_path / "b", bytes(3 << 20) + b"x")
    assert sha256_of_file(tmp_path / "a") != sha256_of_file(tmp_path / "b")


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    write_text(tmp_path / "a", "old")

    def half_a_write(self: Path, data: bytes) -> int:
        with open(self, "wb") as stream:
            stream.write(data[: len(data) // 2])
        raise failure

    monkeypatch.setattr(Path, "write_bytes", half_a_write)
    with pytest.raises(type(failure)):
        write_text(tmp_path / "a", "the new text")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_disk_that_is_full_when_flushed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "a", "text")
    assert names(tmp_path) == []


def test_sweeping_removes_what_a_killed_process_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    temporary_sibling(tmp_path / "inner" / "part.parquet").write_text("half")
    temporary_sibling(tmp_path / "model").mkdir()
    (tmp_path / ".mine.tmp-notes").write_text("a person's")
    (tmp_path / "kept").write_text("whole")
    sweep_temporary(tmp_path)
    assert names(tmp_path) == [".mine.tmp-notes", "inner", "kept"]


def test_a_new_directory_holds_its_fingerprint_and_resumes_under_the_same(tmp_path: Path) -> None:
    fingerprint = {"seed": 3, "input": Path("pictures"), "shape": (8, 8)}
    with claim_output(tmp_path / "out", fingerprint) as claimed:
        assert not claimed.finished
        assert claimed.directory == claimed.path == tmp_path / "out"
        write_text(claimed.directory / "part", "1")
    with claim_output(tmp_path / "out", fingerprint) as claimed:
        assert not claimed.finished
        assert (claimed.directory / "part").read_text() == "1"
        write_json(claimed.directory / "manifest.json", {})
    with claim_output(tmp_path / "out", fingerprint) as claimed:
        assert claimed.finished


def test_another_configs_results_are_refused_by_naming_the_first_difference(
    tmp_path: Path,
) -> None:
    with claim_output(tmp_path / "out", {"a": 1, "sampler": {"name": "ddim"}, "z": 0}) as claimed:
        write_text(claimed.directory / "part", "1")
    with (
        pytest.raises(UserError, match=r'sampler\.name is "ddim" there and "heun" here.*--overw'),
        claim_output(tmp_path / "out", {"a": 1, "sampler": {"name": "heun"}, "z": 1}),
    ):
        pytest.fail("the block must not be entered")
    assert names(tmp_path / "out") == ["part", "run.json"]


def test_a_difference_of_a_missing_key_is_named(tmp_path: Path) -> None:
    with claim_output(tmp_path / "out", {"a": 1}) as claimed:
        write_text(claimed.directory / "part", "1")
    with (
        pytest.raises(UserError, match="b is absent there and 2 here"),
        claim_output(tmp_path / "out", {"a": 1, "b": 2}),
    ):
        pytest.fail("the block must not be entered")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("run_file", [None, "{}", "not json"])
def test_files_of_somebody_else_are_never_replaced(
    tmp_path: Path, overwrite: bool, run_file: str | None
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    if run_file is not None:
        (tmp_path / "run.json").write_text(run_file)
    with (
        pytest.raises(UserError, match="another directory"),
        claim_output(tmp_path, {"a": 1}, overwrite=overwrite),
    ):
        pytest.fail("the block must not be entered")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_place_of_the_directory_is_a_user_error(
    tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "out").write_text("a file")
    with (
        pytest.raises(UserError, match="cannot be written"),
        claim_output(tmp_path / "out", {}, overwrite=overwrite),
    ):
        pytest.fail("the block must not be entered")
    assert (tmp_path / "out").read_text() == "a file"


def claim_and_fill(
    path: Path, fingerprint: dict[str, int], text: str, *, overwrite: bool = False
) -> None:
    with claim_output(path, fingerprint, overwrite=overwrite) as claimed:
        if not claimed.finished:
            write_text(claimed.directory / "part", text)
            write_json(claimed.directory / "manifest.json", {})


def test_overwrite_swaps_the_new_results_in_and_removes_the_old(tmp_path: Path) -> None:
    claim_and_fill(tmp_path / "out", {"a": 1}, "old")
    with claim_output(tmp_path / "out", {"a": 2}, overwrite=True) as claimed:
        assert claimed.directory != claimed.path
        assert (claimed.path / "part").read_text() == "old"
        write_text(claimed.directory / "part", "new")
    assert names(tmp_path) == ["out", "out/part", "out/run.json"]
    assert (tmp_path / "out" / "part").read_text() == "new"
    claim_and_fill(tmp_path / "out", {"a": 2}, "resumed in place")
    assert (tmp_path / "out" / "part").read_text() == "resumed in place"


def test_overwrite_of_finished_results_of_the_same_config_makes_them_anew(tmp_path: Path) -> None:
    claim_and_fill(tmp_path / "out", {"a": 1}, "old")
    claim_and_fill(tmp_path / "out", {"a": 1}, "ignored")
    assert (tmp_path / "out" / "part").read_text() == "old"
    claim_and_fill(tmp_path / "out", {"a": 1}, "new", overwrite=True)
    assert (tmp_path / "out" / "part").read_text() == "new"


def claim_and_be_interrupted(path: Path, fingerprint: dict[str, int]) -> None:
    with claim_output(path, fingerprint, overwrite=True) as claimed:
        write_text(claimed.directory / "half", "half")
        raise KeyboardInterrupt


def test_an_interrupted_overwrite_keeps_the_old_results_and_is_resumed(tmp_path: Path) -> None:
    claim_and_fill(tmp_path / "out", {"a": 1}, "old")
    with pytest.raises(KeyboardInterrupt):
        claim_and_be_interrupted(tmp_path / "out", {"a": 2})
    assert (tmp_path / "out" / "part").read_text() == "old"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["fingerprint"] == {"a": 1}
    with claim_output(tmp_path / "out", {"a": 2}, overwrite=True) as claimed:
        assert (claimed.directory / "half").read_text() == "half"
    assert names(tmp_path) == ["out", "out/half", "out/run.json"]


def test_what_an_overwrite_by_a_third_config_left_is_dropped(tmp_path: Path) -> None:
    claim_and_fill(tmp_path / "out", {"a": 1}, "old")
    with pytest.raises(KeyboardInterrupt):
        claim_and_be_interrupted(tmp_path / "out", {"a": 2})
    claim_and_fill(tmp_path / "out", {"a": 3}, "new", overwrite=True)
    assert names(tmp_path) == ["out", "out/manifest.json", "out/part", "out/run.json"]


def test_an_incoming_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    claim_and_fill(tmp_path / "out", {"a": 1}, "old")
    write_text(tmp_path / "out.incoming" / "thesis.txt", "years of work")
    with pytest.raises(UserError, match=r"out\.incoming"):
        claim_and_fill(tmp_path / "out", {"a": 2}, "new", overwrite=True)
    assert (tmp_path / "out.incoming" / "thesis.txt").read_text() == "years of work"


def test_a_run_that_fails_before_its_first_result_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError), claim_output(tmp_path / "out", {"a": 1}):
        raise UserError("the input is empty")
    assert names(tmp_path) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError), claim_output(tmp_path / "out", {"a": 1}):
        raise UserError("the input is empty")
    assert names(tmp_path) == ["out"]


def test_a_directory_without_results_takes_another_config(tmp_path: Path) -> None:
    with claim_output(tmp_path / "out", {"a": 1}):
        pass
    with claim_output(tmp_path / "out", {"a": 2}) as claimed:
        assert read_json(claimed.directory / "run.json")["fingerprint"] == {"a": 2}


def test_a_swap_killed_between_its_two_renames_is_repaired_by_the_next_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_and_fill(tmp_path / "out", {"a": 1}, "old")
    rename = os.rename

    def killed(source: Path, target: Path) -> None:
        if Path(source).name == "out.incoming":
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", killed)
    monkeypatch.setattr(output, "restore_directory", lambda path: None)
    with pytest.raises(KeyboardInterrupt):
        claim_and_fill(tmp_path / "out", {"a": 2}, "new", overwrite=True)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    claim_and_fill(tmp_path / "out", {"a": 1}, "ignored")
    assert (tmp_path / "out" / "part").read_text() == "old"


def test_a_swap_that_fails_puts_the_old_directory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "old" / "a", "old")
    with pytest.raises(FileNotFoundError):
        swap_directory(tmp_path / "absent", tmp_path / "old")
    assert names(tmp_path) == ["old", "old/a"]
    restore_directory(tmp_path / "old")
    assert (tmp_path / "old" / "a").read_text() == "old"


def test_a_library_may_write_to_the_temporary_name(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "plots" / "loss.png") as temporary:
        assert temporary.parent == tmp_path / "plots"
        temporary.write_bytes(b"picture")
        assert not (tmp_path / "plots" / "loss.png").exists()
    assert names(tmp_path) == ["plots", "plots/loss.png"]
