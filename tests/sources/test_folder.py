"""Folders of pictures: one class a sub-folder; whatever does not fit is named."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.formats.quarantine import BadRow
from pipeline.sources.base import RawRow
from pipeline.sources.decode import Decoder
from pipeline.sources.folder import FolderSource


def put(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 2), number * 10).save(root / name)
    return root


def test_sub_folders_are_the_classes_and_paths_the_ids(tmp_path: Path) -> None:
    put(tmp_path, "cat/b.png", "cat/a.png", "dog/deep/er/c.bmp", "ant/d.png")
    source = pickle.loads(pickle.dumps(FolderSource(tmp_path)))
    assert source.classes == ("ant", "cat", "dog")
    assert source.splits == ()
    rows = source.read(0, source.num_rows)
    assert [(row.id, row.label, row.split) for row in rows] == [
        ("ant/d.png", 0, None),
        ("cat/a.png", 1, None),
        ("cat/b.png", 1, None),
        ("dog/deep/er/c.bmp", 2, None),
    ]
    levels = [int(Decoder().decode(row)[0, 0, 0]) for row in rows]
    assert levels == [30, 10, 0, 20]
    assert [row.id for row in source.read(1, 3)] == ["cat/a.png", "cat/b.png"]


def test_train_and_test_folders_are_the_splits(tmp_path: Path) -> None:
    put(tmp_path, "test/dog/x.png", "train/cat/a.png", "train/dog/b.png")
    source = FolderSource(tmp_path)
    assert source.splits == ("train", "test")
    assert source.classes == ("cat", "dog")
    assert [(row.id, row.label, row.split) for row in source.read(0, 3)] == [
        ("train/cat/a.png", 0, "train"),
        ("train/dog/b.png", 1, "train"),
        ("test/dog/x.png", 1, "test"),
    ]


def test_a_train_folder_alone_is_left_to_be_divided(tmp_path: Path) -> None:
    source = FolderSource(put(tmp_path, "train/cat/a.png"))
    assert source.splits == ()
    assert [(row.id, row.split) for row in source.read(0, 1)] == [("train/cat/a.png", None)]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    source = FolderSource(put(tmp_path, "train/a.png", "plane/b.png"))
    assert source.classes == ("plane", "train")
    assert source.splits == ()


def test_given_classes_set_the_labels(tmp_path: Path) -> None:
    source = FolderSource(put(tmp_path, "cat/a.png", "dog/b.png"), ["dog", "cow", "cat"])
    assert source.classes == ("dog", "cow", "cat")
    assert [row.label for row in source.read(0, 2)] == [2, 0]


@pytest.mark.parametrize(
    ("files", "classes", "message"),
    [
        (["cat/a.png", "dog/b.png"], ["cat"], r"dog is none of the classes \(cat\)"),
        (["train/cat/a.png", "test/dog/b.png"], None, r"test/dog is none of the classes"),
        (["cat/a.png", "b.png"], None, r"b\.png lies outside the sub-folders"),
        (["a.png"], None, r"a\.png lies outside the sub-folders"),
    ],
)
def test_what_belongs_to_no_class_is_named(
    tmp_path: Path, files: list[str], classes: list[str] | None, message: str
) -> None:
    put(tmp_path, *files)
    with pytest.raises(UserError, match=message):
        FolderSource(tmp_path, classes)


def test_a_missing_an_empty_and_a_half_empty_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        FolderSource(tmp_path / "absent")
    with pytest.raises(UserError, match="no sub-folders with pictures"):
        FolderSource(tmp_path)
    put(tmp_path, "cat/a.png")
    (tmp_path / "dog").mkdir()
    with pytest.raises(UserError, match="dog is empty"):
        FolderSource(tmp_path)


def test_hidden_files_and_notes_beside_the_classes_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png")
    (tmp_path / "README.txt").write_text("where the pictures are from")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    assert FolderSource(tmp_path).num_rows == 1


def test_a_picture_that_vanished_costs_its_own_row(tmp_path: Path) -> None:
    source = FolderSource(put(tmp_path, "cat/a.png", "cat/b.png"))
    (tmp_path / "cat" / "a.png").unlink()
    bad, good = source.read(0, 2)
    assert isinstance(bad, BadRow)
    assert (bad.id, bad.row, bad.origin) == ("cat/a.png", 0, str(tmp_path / "cat" / "a.png"))
    assert "a.png cannot be read (No such file or directory); check it" in bad.reason
    assert isinstance(good, RawRow)
    shutil.rmtree(tmp_path)
    with pytest.raises(UserError, match=r"there is no folder .* any more"):
        source.read(0, 2)


def test_a_file_name_that_is_no_text_is_a_user_error(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png")
    try:
        os.rename(tmp_path / "cat" / "a.png", os.fsencode(tmp_path / "cat") + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(UserError, match="rename the file"):
        FolderSource(tmp_path)


def test_a_path_more_costs_little_more_than_its_letters_when_pickled(tmp_path: Path) -> None:
    source = FolderSource(put(tmp_path, "cat/0.png"))
    small = len(pickle.dumps(source))
    for number in range(1, 1001):
        os.link(tmp_path / "cat" / "0.png", tmp_path / "cat" / f"{number}.png")
    # At most "cat/1000.png" is 12 letters; an offset of 8 bytes, a label of 4, a split of 1.
    assert (len(pickle.dumps(FolderSource(tmp_path))) - small) / 1000 <= 12 + 8 + 4 + 1


@pytest.mark.parametrize(
    ("files", "note"),
    [
        (["images/0.png", "images/1.png"], "all pictures are of one class, images"),
        (["animals/cat/0.png", "animals/dog/0.png"], "animals, whose sub-folders cat, dog say"),
        (
            [
                "train/all/cat/0.png",
                "train/all/dog/0.png",
                "test/all/cat/1.png",
                "test/all/dog/1.png",
            ],
            "all, whose sub-folders cat, dog say nothing",
        ),
        (
            ["fold1/cat/0.png", "fold1/dog/0.png", "fold2/cat/1.png", "fold2/dog/1.png"],
            "every class has the sub-folders cat, dog, which say nothing",
        ),
        (["cat/2020/0.png", "dog/2020/0.png"], ""),
        (["cat/x/0.png", "cat/y/0.png", "dog/0.png"], ""),
    ],
)
def test_classes_that_may_be_others_than_the_folders_are_noted(
    tmp_path: Path, files: list[str], note: str
) -> None:
    notes = FolderSource(put(tmp_path, *files)).notes
    assert note in notes[0] if note else not notes
