"""Parquet sources: columns by name, Hugging Face's layout; an unfit cell is told by its row."""

import io
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.formats.quarantine import BadRow
from pipeline.sources.base import RawRow
from pipeline.sources.decode import Decoder
from pipeline.sources.parquet import ParquetSource


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (3, 2), level).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, columns: dict[str, Any], *, group: int = 3, metadata: Any = None) -> Path:
    count = len(next(iter(columns.values())))
    pictures = pa.array([png(row) for row in range(count)], pa.binary())
    table = pa.table({"image": pictures, **columns})
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


def level_of(source: ParquetSource, row: int) -> int:
    return int(Decoder().decode(source.read(row, row + 1)[0])[0, 0, 0])


def test_numbered_labels_and_captions_are_read_row_by_row(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"label": [2, 0, 1, 2], "caption": ["w", None, "y", "z"]})
    source = pickle.loads(pickle.dumps(ParquetSource(file)))
    assert source.num_rows == 4
    assert source.classes == ("0", "1", "2")
    assert source.has_captions
    rows = source.read(0, 4)
    assert [row.label for row in rows] == [2, 0, 1, 2]
    assert [row.caption for row in rows] == ["w", "", "y", "z"]
    assert [row.id for row in rows] == ["a-0", "a-1", "a-2", "a-3"]
    assert level_of(source, 3) == 3


@pytest.mark.parametrize("dictionary", [False, True])
def test_named_labels_become_sorted_classes(tmp_path: Path, dictionary: bool) -> None:
    names = pa.array(["dog", "cat", "dog", "ant"])
    file = write(
        tmp_path / "a.parquet", {"kind": names.dictionary_encode() if dictionary else names}
    )
    source = ParquetSource(file, label_column="kind")
    assert source.classes == ("ant", "cat", "dog")
    assert [row.label for row in source.read(0, 4)] == [2, 1, 2, 0]
    assert [row.caption for row in source.read(0, 4)] == [None] * 4
    given = ParquetSource(file, label_column="kind", classes=["dog", "cat", "ant", "cow"])
    assert [row.label for row in given.read(0, 4)] == [0, 1, 0, 2]


def test_captions_alone_make_a_source_without_labels(tmp_path: Path) -> None:
    source = ParquetSource(write(tmp_path / "a.parquet", {"text": ["x", "y"]}))
    assert source.classes == ()
    assert [(row.label, row.caption) for row in source.read(0, 2)] == [(-1, "x"), (-1, "y")]


def test_hugging_faces_struct_and_class_names_are_understood(tmp_path: Path) -> None:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    pictures = pa.array([{"bytes": png(row), "path": f"{row}.png"} for row in range(2)], kind)
    header = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    file = write(
        tmp_path / "train-00000-of-00001.parquet",
        {"image": pictures, "label": [1, 0]},
        metadata=header,
    )
    source = ParquetSource(file)
    assert source.classes == ("cat", "dog")
    assert level_of(source, 1) == 1


@pytest.mark.parametrize(
    "names",
    [
        ["test-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"],
        ["test", "train_0", "train_1"],
        ["test/0", "train/0", "train/1"],
    ],
)
def test_files_and_folders_named_after_splits_give_them(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        write(tmp_path / f"{name}.parquet", {"label": [0, 1]})
    source = ParquetSource(tmp_path)
    assert source.splits == ("train", "test")
    assert [row.split for row in source.read(1, 5)] == ["test", "train", "train", "train"]
    assert len({row.id for row in source.read(0, 6)}) == 6


@pytest.mark.parametrize("names", [["train-0", "train-1"], ["testament", "b"]])
def test_other_names_leave_the_rows_to_be_divided(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        write(tmp_path / f"{name}.parquet", {"label": [0, 1]})
    source = ParquetSource(tmp_path)
    assert source.splits == ()
    assert {row.split for row in source.read(0, 4)} == {None}


def test_only_the_needed_row_groups_and_columns_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.parquet", {"label": [0] * 8, "unused": ["x"] * 8})
    source = ParquetSource(tmp_path)
    asked: list[tuple[list[int], list[str]]] = []
    read = pq.ParquetFile.read_row_groups

    def spy(self: pq.ParquetFile, groups: list[int], columns: list[str]) -> pa.Table:
        asked.append((groups, columns))
        return read(self, groups, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", spy)
    assert [row.id for row in source.read(7, 10)] == ["a-7", "b-0", "b-1"]
    assert asked == [([2], ["image", "label"]), ([0], ["image", "label"])]


def test_ids_may_come_from_a_column(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"label": [0, 0], "key": [7, 9]})
    assert [row.id for row in ParquetSource(file, id_column="key").read(0, 2)] == ["7", "9"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["a", "b", "a", "b"], r"row 2 of .* has the id a, which came before in column key"),
        (["a", None, "b", "c"], r"row 1 of .* has no id in column key"),
    ],
)
def test_a_repeated_or_missing_id_is_named(
    tmp_path: Path, keys: list[str | None], message: str
) -> None:
    file = write(tmp_path / "a.parquet", {"label": [0] * 4, "key": keys})
    with pytest.raises(UserError, match=message):
        ParquetSource(file, id_column="key")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_column": "img"}, r"no column 'img', only image, kind, title; .*--image-column"),
        ({"label_column": "class"}, r"no column 'class', only image, kind, title; .*--label-colu"),
        ({"caption_column": "text"}, r"no column 'text', only image, kind, title; .*--caption"),
        ({"id_column": "key"}, r"no column 'key', only image, kind, title; .*--id-column"),
        ({}, r"no column label and none caption or text, only image, kind, title"),
    ],
)
def test_a_missing_column_is_told_with_those_there_are(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    file = write(tmp_path / "a.parquet", {"kind": ["a"], "title": ["b"]})
    with pytest.raises(UserError, match=message):
        ParquetSource(file, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_column": "label"}, "column label .* not encoded pictures"),
        ({"label_column": "image"}, "column image .* not whole numbers or text"),
        ({"label_column": "days"}, "column days .* is date32.*, not whole numbers or text"),
        ({"caption_column": "label"}, "column label .* is int64, not text"),
        ({"id_column": "weight"}, "column weight .* is double"),
    ],
)
def test_a_column_of_another_type_is_told(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    days = pa.array([1], pa.date32())
    file = write(tmp_path / "a.parquet", {"label": [0], "weight": [0.5], "days": days})
    with pytest.raises(UserError, match=message):
        ParquetSource(file, **options)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 1, 2], ["a", "b"], r"row 2 of .* has the label 2, .* the 2 classes \(a, b\)"),
        ([0, -1, 2], None, r"row 1 of .* has the label -1"),
        ([0, None, 2], None, r"row 1 of .* has no label"),
        (["a", "b", "c"], ["a", "c"], r"row 1 of .* has the label b, .*\(a, c\)"),
        (["a", None, "c"], None, r"row 1 of .* has no label"),
    ],
)
def test_a_label_outside_the_classes_is_named_with_its_row(
    tmp_path: Path, labels: list[Any], classes: list[str] | None, message: str
) -> None:
    file = write(tmp_path / "a.parquet", {"label": labels})
    source = ParquetSource(file, classes=classes)
    (bad,) = [row for row in source.read(0, 3) if isinstance(row, BadRow)]
    assert re.match(message, bad.reason)
    assert bad.row == source.first_bad_label()
    assert (bad.id, bad.origin) == (f"a-{bad.row}", f"row {bad.row} of {file}")


def test_a_row_without_a_picture_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"image": pa.array([png(0), None]), "label": [0, 0]})
    source = ParquetSource(file)
    good, bad = source.read(0, 2)
    assert isinstance(good, RawRow)
    assert isinstance(bad, BadRow)
    assert f"row 1 of {file} has no picture in column image" in bad.reason
    assert source.first_bad_label() is None


def test_text_that_is_not_utf8_makes_its_row_bad(tmp_path: Path) -> None:
    text = pa.array([b"one", b"\xff", b"three"], pa.binary()).cast(pa.string(), safe=False)
    text = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xff", b"b"]).buffers())
    for columns in ({"label": [0] * 3, "text": text}, {"label": text}):
        source = ParquetSource(write(tmp_path / "a.parquet", columns))
        rows = source.read(0, 3)
        assert [type(row) for row in rows] == [RawRow, BadRow, RawRow]
        assert "that is not UTF-8; correct it" in rows[1].reason
        assert source.classes == (("0",) if "text" in columns else ("a", "b"))


def test_missing_empty_and_damaged_inputs_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file or folder"):
        ParquetSource(tmp_path / "absent")
    with pytest.raises(UserError, match="no Parquet files"):
        ParquetSource(tmp_path)
    write(tmp_path / "a.parquet", {"label": np.zeros(0, np.int64)})
    with pytest.raises(UserError, match="have no rows"):
        ParquetSource(tmp_path)
    file = write(tmp_path / "a.parquet", {"label": [0] * 50})
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"a\.parquet is not a Parquet file, or is cut short"):
        ParquetSource(tmp_path)


@pytest.mark.parametrize("start", [0, 4, 6])
def test_damage_inside_a_file_costs_the_rows_of_its_row_group(tmp_path: Path, start: int) -> None:
    file = write(tmp_path / "a.parquet", {"label": [0] * 20, "key": range(30, 50)}, group=5)
    source = ParquetSource(file, id_column="key")
    content = bytearray(file.read_bytes())
    place = pq.ParquetFile(file).metadata.row_group(1).column(0).data_page_offset
    content[place : place + 9] = bytes(9)
    file.write_bytes(content)
    rows = source.read(start, 20)
    bad = [row for row in rows if isinstance(row, BadRow)]
    assert [row.row for row in bad] == list(range(max(5, start), 10))
    assert [row.id for row in bad] == [f"a-{row.row:02d}" for row in bad]
    assert all(f"{file} is damaged" in row.reason for row in bad)
    good = [row.id for row in rows if isinstance(row, RawRow)]
    assert good == [str(30 + row) for row in range(start, 20) if not 5 <= row < 10]


def test_a_file_that_is_gone_is_no_rows_fault(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"label": [0] * 4})
    source = ParquetSource(file)
    file.unlink()
    with pytest.raises(UserError, match=r"a\.parquet does not exist"):
        source.read(0, 4)


def test_damaged_labels_do_not_hide_the_classes_of_the_others(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"label": list("aabbccdd")}, group=2)
    content = bytearray(file.read_bytes())
    column = pq.ParquetFile(file).metadata.row_group(1).column(1)
    content[column.data_page_offset : column.data_page_offset + 9] = bytes(9)
    file.write_bytes(content)
    source = ParquetSource(file)
    assert source.classes == ("a", "c", "d")
    assert source.first_bad_label() is None
    assert [row.row for row in source.read(0, 8) if isinstance(row, BadRow)] == [2, 3]


def test_files_of_different_columns_are_told(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"label": [0]})
    write(tmp_path / "b.parquet", {"label": ["cat"]})
    with pytest.raises(UserError, match=r"label is int64 in .*a\.parquet and string in .*b\.par"):
        ParquetSource(tmp_path)


@pytest.mark.parametrize("column", ["image", "label", "text", "key"])
def test_two_columns_of_one_name_are_told(tmp_path: Path, column: str) -> None:
    names = ["image", "label", "text", "key"]
    table = pa.table([[png(0)], [0], ["a"], ["k"], [1]], [*names, column])
    pq.write_table(table, tmp_path / "a.parquet")
    told = rf"a\.parquet has two columns called {column}; rename one of them"
    with pytest.raises(UserError, match=told):
        ParquetSource(tmp_path, id_column="key")
    other = tmp_path / "0.parquet"  # found in another file than the first as well
    pq.write_table(table.select(range(4)), other)
    with pytest.raises(UserError, match=told):
        ParquetSource(tmp_path, id_column="key")


def test_two_columns_of_a_name_that_nobody_asks_for_do_no_harm(tmp_path: Path) -> None:
    table = pa.table([[png(0)], [0], [1], ["x"]], ["image", "label", "weight", "weight"])
    pq.write_table(table, tmp_path / "a.parquet")
    (row,) = ParquetSource(tmp_path).read(0, 1)
    assert isinstance(row, RawRow)


def test_a_file_that_lost_rows_since_it_was_listed_is_told(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"label": [0] * 9})
    source = ParquetSource(file)
    write(file, {"label": [0] * 4})
    with pytest.raises(UserError, match=r"a\.parquet has fewer rows than when it was listed"):
        source.read(0, 9)


def test_the_emoji_have_their_published_counts(shared_data: Path) -> None:
    source = ParquetSource(shared_data / "emoji", label_column="category")
    assert source.num_rows == 3812
    assert len(source.classes) == 9
    (row,) = source.read(2, 3)
    assert row.caption == "keycap 0"
    assert source.classes[row.label] == "Symbols"
    assert Decoder().decode(row).shape == (64, 64, 3)


def test_names_in_the_header_of_a_nested_column_are_the_classes(tmp_path: Path) -> None:
    label = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    header = {"info": {"features": {"meta": {"y": label}, "a.b": label}}}
    columns = {"meta": [{"y": 1}, {"y": 0}], "a.b": [0, 1]}
    file = write(tmp_path / "a.parquet", columns, metadata=header)
    for column in ("meta.y", "a.b"):
        assert ParquetSource(file, label_column=column).classes == ("cat", "dog")


def test_a_column_that_is_called_text_and_is_none_needs_no_name_where_labels_are(
    tmp_path: Path,
) -> None:
    captions = pa.array([["a"], ["b", "c"]])
    file = write(tmp_path / "a.parquet", {"label": [0, 1], "caption": captions, "text": ["x", "y"]})
    assert [row.caption for row in ParquetSource(file).read(0, 2)] == ["x", "y"]
    file = write(tmp_path / "b.parquet", {"label": [0, 1], "caption": pa.nulls(2)})
    assert not ParquetSource(file).has_captions
    with pytest.raises(UserError, match="is null, not text"):
        ParquetSource(file, caption_column="caption")


def test_files_of_every_ending_are_read_and_twins_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", {"label": [0, 1]})
    write(tmp_path / "TEST.PARQUET", {"label": [0, 1]})
    write(tmp_path / "val.pq", {"label": [0, 1]})
    assert ParquetSource(tmp_path).splits == ("train", "validation", "test")
    write(tmp_path / "val.parq", {"label": [0, 1]})
    with pytest.raises(UserError, match=r"val.parq and .*val.pq differ in their endings alone"):
        ParquetSource(tmp_path)


def test_numbers_in_names_of_folders_are_labels_where_classes_are_named(tmp_path: Path) -> None:
    for label in (0, 1):
        write(tmp_path / f"label={label}" / "a.parquet", {"x": [0]})
    source = ParquetSource(tmp_path, classes=["cat", "dog"])
    assert [row.label for row in source.read(0, 2)] == [0, 1]
    assert ParquetSource(tmp_path, classes=["1", "0"]).read(0, 1)[0].label == 1
