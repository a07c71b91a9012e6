"""Classes as data have them: those that occur, each file's own names, clean, and no ids."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.sources import classes as limits
from pipeline.sources.base import RawRow, Source
from pipeline.sources.classes import MAX_CLASSES, check_classes
from pipeline.sources.folder import FolderSource
from pipeline.sources.idx import IdxSource
from pipeline.sources.metadata import MetadataSource
from pipeline.sources.parquet import ParquetSource


def write(path: Path, labels: Any, names: list[str] | None = None) -> Path:
    table = pa.table({"image": pa.array([b"x"] * len(labels), pa.binary()), "label": labels})
    if names is not None:
        header = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(header)})
    pq.write_table(table, path)
    return path


def named(source: Source) -> list[str | None]:
    """The class that each row is given, by name; None for a bad row."""
    return [
        source.classes[row.label] if isinstance(row, RawRow) else None
        for row in source.read(0, source.num_rows)
    ]


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(root / name)
    return root


@pytest.mark.parametrize(
    "labels", [[3, 90, 7, 200, 91], [1, 2, 3, 4, 5], [3.0, 90.0, 7.0], ["90", "3", "7"]]
)
def test_values_that_occur_are_the_classes_and_no_others(tmp_path: Path, labels: list[Any]) -> None:
    source = ParquetSource(write(tmp_path / "a.parquet", labels))
    values = [int(value) for value in labels]
    assert source.classes == tuple(map(str, sorted(values)))
    assert named(source) == list(map(str, values))
    assert source.first_bad_label() is None


def test_a_column_of_ids_is_refused_before_it_costs_anything(tmp_path: Path) -> None:
    few = write(tmp_path / "a.parquet", [10**12, 5, 10**12 + 1])
    assert ParquetSource(few).classes == ("5", str(10**12), str(10**12 + 1))
    for values in (range(MAX_CLASSES + 1), map(str, range(MAX_CLASSES + 1))):
        ids = write(tmp_path / "b.parquet", list(values))
        with pytest.raises(
            UserError, match=r"label of .*b\.parquet has more than 10,000 .* ids"
        ) as e:
            ParquetSource(ids)
        assert len(str(e.value)) < 400
        assert len(ParquetSource(ids, classes=["0", "1"]).classes) == 2


def test_every_source_and_flag_has_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_CLASSES", 2)
    put(tmp_path / "in", "a/1.png", "b/1.png", "c/1.png")
    rows = "file_name,label\na/1.png,x\nb/1.png,y\nc/1.png,z\n"
    with pytest.raises(UserError, match="more than 2 different classes"):
        FolderSource(tmp_path / "in")
    (tmp_path / "in" / "metadata.csv").write_text(rows)
    with pytest.raises(UserError, match="more than 2 different classes"):
        MetadataSource(tmp_path / "in")
    with pytest.raises(UserError, match="--classes has more than 2 different classes"):
        ParquetSource(write(tmp_path / "a.parquet", [0]), classes=["a", "b", "c"])
    with pytest.raises(UserError, match=r"the header of .* has more than 2 different classes"):
        ParquetSource(write(tmp_path / "b.parquet", [0], ["a", "b", "c"]))


def test_idx_labels_with_gaps_are_named_by_value(tmp_path: Path) -> None:
    labels = np.array([26, 1, 9, 1], np.uint8)
    head = bytes((0, 0, 8, 3)) + struct.pack(">3I", 4, 1, 1)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(head + bytes(4))
    head = bytes((0, 0, 8, 1)) + struct.pack(">I", 4)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    source = IdxSource(tmp_path)
    assert source.classes == ("1", "9", "26")
    assert named(source) == ["26", "1", "9", "1"]
    given = IdxSource(tmp_path, [*"abcdefghij"])  # a number is then the label, as ever
    assert named(given) == [None, "b", "j", "b"]


def test_each_files_header_names_its_own_rows(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [0, 1], ["cat", "dog"])
    write(tmp_path / "b.parquet", [0, 1, 2], ["dog", "ant", "cat"])
    source = ParquetSource(tmp_path)
    assert source.classes == ("cat", "dog", "ant")
    assert named(source) == ["cat", "dog", "dog", "ant", "cat"]
    assert source.notes == (
        "the files number their classes differently; they were matched by name",
    )
    assert source.first_bad_label() is None
    given = ParquetSource(tmp_path, classes=["ant", "cat", "dog"])
    assert given.classes == ("ant", "cat", "dog")
    assert named(given) == named(source)


def test_given_classes_reorder_or_rename_a_headers(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [0, 1], ["cat", "dog"])
    assert named(ParquetSource(file, classes=["dog", "cat"])) == ["cat", "dog"]
    assert named(ParquetSource(file, classes=["Katze", "Hund"])) == ["Katze", "Hund"]
    assert named(ParquetSource(file, classes=["dog"])) == [None, "dog"]


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (["cat", "dog"], None, "a.parquet names its labels in its header and .*b.parquet does not"),
        (
            ["cat", "dog"],
            ["Cat", "dog"],
            "a.parquet has a class 'cat' and .* a class 'Cat'",
        ),
        (["0", "1"], ["cat", "dog"], "a.parquet calls its classes by numbers and .*b.parquet by"),
        (["cat", "cat"], ["cat", "cat"], "a.parquet: classes 0 and 1 are both called 'cat'"),
        (["cat", "cat "], None, "a.parquet: classes 0 and 1 are both called 'cat'"),
        (["cat", ""], None, "a.parquet: class 1 has an empty name"),
        (["cat", "  "], None, "a.parquet: class 1 has an empty name"),
    ],
)
def test_headers_that_cannot_be_matched_are_refused_in_one_line(
    tmp_path: Path, ours: list[str], theirs: list[str] | None, told: str
) -> None:
    write(tmp_path / "a.parquet", [0, 1], ours)
    write(tmp_path / "b.parquet", [0, 1], theirs)
    with pytest.raises(UserError, match=told) as refusal:
        ParquetSource(tmp_path)
    assert "\n" not in str(refusal.value)


def test_spaces_and_letters_in_parts_are_mended_with_a_word(tmp_path: Path) -> None:
    source = ParquetSource(write(tmp_path / "a.parquet", [1, 0], ["cat ", "cafe\u0301"]))
    assert source.classes == ("cat", "caf\u00e9")
    assert "'cat '" in source.notes[0]
    text = ParquetSource(write(tmp_path / "b.parquet", ["cat", " cat", "", None, "dog"]))
    assert named(text) == ["cat", "cat", None, None, "dog"]
    assert "' cat'" in text.notes[0]
    folder = FolderSource(put(tmp_path / "in", "train/cat /a.png", "test/cat/b.png"))
    assert folder.classes == ("cat",)
    assert "'cat '" in folder.notes[0]
    with pytest.raises(UserError, match="'cat' and 'cat ' are the same class"):
        FolderSource(put(tmp_path / "twins", "cat /a.png", "cat/b.png"))
    rows = "file_name,label\na.png,cat\nb.png,cat \n"
    put(tmp_path / "listed", "a.png", "b.png")
    (tmp_path / "listed" / "metadata.csv").write_text(rows)
    assert MetadataSource(tmp_path / "listed").classes == ("cat",)


def test_names_that_differ_in_case_alone_are_told(tmp_path: Path) -> None:
    source = ParquetSource(write(tmp_path / "a.parquet", ["Cat", "cat"]))
    assert source.classes == ("Cat", "cat")
    assert source.notes == ("the classes Cat and cat differ in case alone; are they one?",)


def test_a_column_without_any_label_is_refused(tmp_path: Path) -> None:
    for labels in ([-1, -1], pa.array([None, None], pa.int64()), ["", " "]):
        with pytest.raises(UserError, match="holds no label"):
            ParquetSource(write(tmp_path / "a.parquet", labels))


@pytest.mark.parametrize("names", [["a", "a"], ["a", " a"], ["a", ""]])
def test_given_classes_are_different_and_have_names(names: list[str]) -> None:
    with pytest.raises(UserError, match="--classes: class"):
        check_classes(names, "--classes")
