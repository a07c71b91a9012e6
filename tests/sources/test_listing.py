"""Users' folders: listed in order with their links; loops and what cannot be read end in a line."""

import errno
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.sources.folder import FolderSource
from pipeline.sources.idx import IdxSource
from pipeline.sources.listing import entries, files_below, user_files
from pipeline.sources.parquet import ParquetSource


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_files_are_listed_part_by_part_of_their_paths(tmp_path: Path) -> None:
    names = ["b/c/1", "a.d/1", "a/2", "a/1", "B/1"]
    touch(tmp_path, *names)
    expected = sorted(names, key=lambda name: Path(name).parts)
    assert list(files_below(tmp_path)) == expected
    assert list(files_below(tmp_path, "a")) == ["a/1", "a/2"]


def test_what_systems_and_archivers_leave_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "__MACOSX/cat/._1.png", ".git/x", "cat/.DS_Store", "cat/Thumbs.db", "cat/1.png")
    touch(tmp_path, "cat/__MACOSX/1.png")
    assert list(files_below(tmp_path)) == ["cat/1.png"]
    assert [entry.name for entry in entries(tmp_path)] == ["cat"]


def test_links_to_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/1.png", "store/in/2.png", "root/dog/3.png")
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "store")
    assert list(files_below(tmp_path / "root")) == ["cat/1.png", "cat/in/2.png", "dog/3.png"]
    assert list(files_below(tmp_path / "root", "cat")) == ["cat/1.png", "cat/in/2.png"]


@pytest.mark.parametrize(
    ("link", "target", "at"),
    [
        ("cat/up", "..", "cat/up"),
        ("cat/here", ".", "cat/here"),
        ("cat/far", "../..", "cat/far"),
        ("whole", ".", "whole"),
        ("cat/other", "../dog", None),  # two links that lead into each other
    ],
)
def test_a_link_without_an_end_is_refused_with_its_place(
    tmp_path: Path, link: str, target: str, at: str | None
) -> None:
    root = touch(tmp_path / "root", "cat/1.png", "dog/2.png")
    (root / link).symlink_to(target)
    if at is None:
        (root / "dog" / "back").symlink_to("../cat")
        at = "cat/other/back"
    told = re.escape(f"{root / at} is a link to ") + ".*, in which it lies itself; remove the link$"
    with pytest.raises(UserError, match=told):
        list(files_below(root))


def test_a_class_that_is_a_link_to_the_parent_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"loop is a link to .*, in which it lies itself"):
        FolderSource(tmp_path)
    with pytest.raises(UserError, match=r"loop is a link to .*, in which it lies itself"):
        ParquetSource(tmp_path)


def test_parquet_files_behind_a_link_are_rows_as_well(tmp_path: Path) -> None:
    columns = {"image": pa.array([b""] * 3, pa.binary()), "label": [0, 0, 0]}
    for folder in ("elsewhere", "root"):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table(columns), tmp_path / folder / "a.parquet")
    (tmp_path / "root" / "more").symlink_to(tmp_path / "elsewhere")
    assert ParquetSource(tmp_path / "root").num_rows == 6


@pytest.mark.parametrize("source", [FolderSource, ParquetSource, IdxSource])
def test_a_folder_that_may_not_be_read_is_told_and_never_passed_over(
    source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "cat"
    Image.new("L", (2, 2)).save(touch(tmp_path, "cat/1.png") / "cat" / "1.png")
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if source is IdxSource or Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\); check it"):
        source(tmp_path)


@pytest.mark.parametrize("source", [FolderSource, ParquetSource, IdxSource])
@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_path_that_no_system_takes_is_told(source: Any, name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        source(tmp_path / name)


def test_an_idx_file_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(
        bytes((0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 9))
    )
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(bytes((0, 0, 8, 1, 0, 0, 0, 1, 0)))
    source = IdxSource(tmp_path)
    labels.unlink()
    with pytest.raises(UserError, match=r"labels-idx1-ubyte cannot be read \(No such file"):
        source.read(0, 1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
def test_what_is_this_machines_fault_is_not_the_files(number: int) -> None:
    with pytest.raises(OSError, match="x"), user_files():
        raise OSError(number, "x")
    with pytest.raises(MemoryError), user_files():
        raise pa.ArrowMemoryError("x")
    with pytest.raises(UserError, match=r"the input cannot be read \(odd\)"), user_files():
        raise pa.ArrowNotImplementedError("odd")
