"""The types that other tools write: each gives the rows, labels and classes of plain columns."""

import decimal
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.formats.quarantine import BadRow
from pipeline.sources.base import RawRow
from pipeline.sources.cells import hive_keys
from pipeline.sources.parquet import ParquetSource


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (3, 2), level).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = [png(row) for row in range(4)]
STRUCT = pa.struct({"bytes": pa.large_binary(), "path": pa.string()})
D = decimal.Decimal


def write(path: Path, columns: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def labels(source: ParquetSource) -> list[int]:
    return [row.label for row in source.read(0, source.num_rows) if isinstance(row, RawRow)]


@pytest.mark.parametrize(
    "pictures",
    [
        pa.array(PICTURES, pa.binary()),
        pa.array(PICTURES, pa.large_binary()),
        pa.array(PICTURES, pa.binary_view()),
        pa.array(PICTURES, pa.binary()).dictionary_encode(),
        pa.array([{"bytes": data, "path": "x"} for data in PICTURES], STRUCT),
    ],
    ids=lambda pictures: str(pictures.type),
)
def test_pictures_come_in_any_type_of_bytes(tmp_path: Path, pictures: pa.Array) -> None:
    source = ParquetSource(write(tmp_path / "a.parquet", {"image": pictures, "label": [0] * 4}))
    rows = source.read(0, 4)
    assert [row.image for row in rows if isinstance(row, RawRow)] == PICTURES


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        (pa.array(["b", "a", "b", "c"], pa.string_view()), ("a", "b", "c"), [1, 0, 1, 2]),
        (pa.array(["b", "a", "b", "c"], pa.large_string()), ("a", "b", "c"), [1, 0, 1, 2]),
        (pa.array(["b", "a", "b", "c"]).dictionary_encode(), ("a", "b", "c"), [1, 0, 1, 2]),
        (pa.array([True, False, True, True]), ("false", "true"), [1, 0, 1, 1]),
        (pa.array([1.0, 0.0, 2.0, 1.0]), ("0", "1", "2"), [1, 0, 2, 1]),
        (pa.array([1, 0, 2, 1], pa.float16()), ("0", "1", "2"), [1, 0, 2, 1]),
        (pa.array([D(1), D(0), D(2), D(1)], pa.decimal128(38, 0)), ("0", "1", "2"), [1, 0, 2, 1]),
        (pa.array([1, 0, 2, 1], pa.uint8()), ("0", "1", "2"), [1, 0, 2, 1]),
        (pa.array([1, 0, 2, 1], pa.uint64()), ("0", "1", "2"), [1, 0, 2, 1]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_labels_come_in_any_type_of_names_and_whole_numbers(
    tmp_path: Path, values: pa.Array, classes: tuple[str, ...], expected: list[int]
) -> None:
    source = ParquetSource(write(tmp_path / "a.parquet", {"image": PICTURES, "label": values}))
    assert source.classes == classes
    assert labels(source) == expected
    assert source.first_bad_label() is None


def test_names_that_are_given_are_those_of_false_and_of_true(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"image": PICTURES, "label": [True, False, True, True]})
    assert labels(ParquetSource(file, classes=("dog", "cat"))) == [1, 0, 1, 1]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.float64(), pa.bool_()])
def test_a_missing_label_is_its_rows_fault_in_any_type(tmp_path: Path, kind: pa.DataType) -> None:
    values = pa.array([0, 1, None, 1]).cast(kind)
    source = ParquetSource(write(tmp_path / "a.parquet", {"image": PICTURES, "label": values}))
    assert len(source.classes) == 2  # (pyarrow 26 makes "" of null where views are made unique)
    (bad,) = [row for row in source.read(0, 4) if isinstance(row, BadRow)]
    assert (bad.row, source.first_bad_label()) == (2, 2)
    assert "has no label" in bad.reason


def test_numbers_that_are_not_whole_are_their_rows_fault_and_nan_is_no_label(
    tmp_path: Path,
) -> None:
    values = [1.0, 0.5, float("nan"), 1e300]
    source = ParquetSource(write(tmp_path / "a.parquet", {"image": PICTURES, "label": values}))
    reasons = {row.row: row.reason for row in source.read(0, 4) if isinstance(row, BadRow)}
    assert source.first_bad_label() == 1
    assert "has the label 0.5, which is no whole number; round it, or name" in reasons[1]
    assert "has no label" in reasons[2]
    assert "has the label 1e+300, which lies outside" in reasons[3]


def test_ids_and_captions_may_be_views(tmp_path: Path) -> None:
    text = pa.array(["w", "x", None, "z"], pa.string_view())
    keys = pa.array(["k1", "k2", "k3", "k4"], pa.string_view())
    file = write(tmp_path / "a.parquet", {"image": PICTURES, "text": text, "key": keys})
    rows = ParquetSource(file, id_column="key").read(0, 4)
    assert [row.id for row in rows] == ["k1", "k2", "k3", "k4"]
    assert [row.caption for row in rows if isinstance(row, RawRow)] == ["w", "x", "", "z"]


def test_files_of_kindred_types_are_one_source(tmp_path: Path) -> None:
    for name, kind in (("a", pa.string()), ("b", pa.string_view()), ("c", pa.large_string())):
        values = pa.array(["x", "y", "x", "y"], kind)
        write(tmp_path / f"{name}.parquet", {"image": PICTURES, "label": values})
    assert labels(ParquetSource(tmp_path)) == [0, 1] * 6


def test_dots_lead_into_struct_columns(tmp_path: Path) -> None:
    inner = [
        {"img": {"bytes": data, "path": None}, "kind": {"name": name}}
        for data, name in zip(PICTURES, "baab", strict=True)
    ]
    file = write(tmp_path / "a.parquet", {"sample": inner, "label": [5] * 4})
    source = ParquetSource(file, image_column="sample.img", label_column="sample.kind.name")
    assert source.classes == ("a", "b")
    assert labels(source) == [1, 0, 0, 1]
    with pytest.raises(UserError, match=r"no column 'sample\.kind\.x', only .*sample\.kind\.name"):
        ParquetSource(file, image_column="sample.img", label_column="sample.kind.x")


def test_a_column_whose_own_name_has_a_dot_is_that_column(tmp_path: Path) -> None:
    meta = [{"label": 9, "a.b": row // 2} for row in range(4)]
    columns = {"image": PICTURES, "meta": meta, "meta.label": [0, 1, 0, 1]}
    source = ParquetSource(write(tmp_path / "a.parquet", columns), label_column="meta.label")
    assert labels(source) == [0, 1, 0, 1]
    source = ParquetSource(write(tmp_path / "a.parquet", columns), label_column="meta.a.b")
    assert labels(source) == [0, 0, 1, 1]


def test_a_row_whose_struct_is_missing_has_no_picture(tmp_path: Path) -> None:
    pictures = pa.array([{"bytes": PICTURES[0]}, None], pa.struct({"bytes": pa.binary()}))
    source = ParquetSource(write(tmp_path / "a.parquet", {"image": pictures, "label": [0, 0]}))
    good, bad = source.read(0, 2)
    assert isinstance(good, RawRow)
    assert isinstance(bad, BadRow)
    assert "has no picture in column image" in bad.reason


def test_hive_folders_give_the_label(tmp_path: Path) -> None:
    for name in ("cat", "brown%20bear", "__HIVE_DEFAULT_PARTITION__"):
        write(tmp_path / f"label={name}" / "0.parquet", {"image": PICTURES[:2]})
    source = ParquetSource(tmp_path)
    assert source.classes == ("brown bear", "cat")
    rows = source.read(0, 6)
    bad = [row for row in rows if isinstance(row, BadRow)]
    assert [row.row for row in bad] == [0, 1]
    assert all("has no label" in row.reason for row in bad)
    assert labels(source) == [0, 0, 1, 1]
    assert source.first_bad_label() == 0


def test_hive_folders_give_any_column_that_is_named_and_files_own_columns_win(
    tmp_path: Path,
) -> None:
    for kind in ("7", "12"):
        path = tmp_path / "label=wrong" / f"kind={kind}" / "0.parquet"
        write(path, {"image": PICTURES[:2], "label": ["x", "y"]})
    assert ParquetSource(tmp_path).classes == ("x", "y")
    source = ParquetSource(tmp_path, label_column="kind")
    assert source.classes == ("7", "12")
    assert labels(source) == [1, 1, 0, 0]


def test_a_file_outside_the_hive_folders_is_told(tmp_path: Path) -> None:
    write(tmp_path / "label=cat" / "0.parquet", {"image": PICTURES})
    write(tmp_path / "other.parquet", {"image": PICTURES})
    told = r"column label is string in .*0\.parquet and absent in .*other\.parquet"
    with pytest.raises(UserError, match=told):
        ParquetSource(tmp_path)


def test_hive_keys_are_those_of_folders_alone() -> None:
    assert hive_keys("a=1/b=x%3Dy/c/=z/d=0.parquet") == {"a": "1", "b": "x=y"}
