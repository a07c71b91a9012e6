"""Atomic files: what is interrupted leaves the old results as they were."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.formats.output import (
    atomic_path,
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
