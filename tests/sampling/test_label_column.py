"""Labels from a column: rows in order, read where they are asked for; mistakes with their row."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from pipeline.formats.dataset import dataset_table, write_dataset_info, write_shard
from pipeline.sampling.label_column import Column, open_column

CLASSES = ("cat", "dog", "Bird of prey")


def labels(plan: Column, start: int, stop: int) -> list[int]:
    given = plan.rows(start, stop)
    assert given.labels.dtype == np.int64
    return given.labels.tolist()


def column_file(path: Path, values: pa.Array | list[object], **options: int) -> Path:
    pq.write_table(pa.table({"other": [0] * len(values), "what": values}), path, **options)
    return path


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2, 0, 1, -1, 2]),
        pa.array([2, 0, 1, -1, 2], pa.int8()),
        pa.array(["Bird of prey", "cat", "DOG", "-", "2"]),
        pa.array(["Bird of prey", "cat", "DOG", "-", "2"], pa.large_string()),
        pa.array(["Bird of prey", "cat", "DOG", "-", "2"]).dictionary_encode(),
    ],
    ids=lambda values: str(values.type),
)
def test_a_column_gives_its_rows_in_order_and_again_from_the_first(
    tmp_path: Path, values: pa.Array
) -> None:
    file = column_file(tmp_path / "a.parquet", values, row_group_size=2)
    plan = open_column(file, "what", CLASSES)
    plan.check()
    assert plan.num_rows == 5
    assert labels(plan, 0, 5) == [2, 0, 1, -1, 2]
    assert labels(plan, 1, 3) == [0, 1]
    assert labels(plan, 3, 14) == [-1, 2, 2, 0, 1, -1, 2, 2, 0, 1, -1]
    assert labels(plan, 4, 4) == []
    assert plan.rows(0, 5).captions is None


def test_only_the_rows_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = column_file(tmp_path / "a.parquet", list(range(3)) * 100, row_group_size=10)
    plan = open_column(file, "what", CLASSES)
    read: list[list[int]] = []
    whole = pq.ParquetFile.read_row_groups

    def watched(self: pq.ParquetFile, groups: list[int], columns: list[str]) -> pa.Table:
        read.append(groups)
        assert columns == ["what"]
        return whole(self, groups, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", watched)
    assert labels(plan, 118, 121) == [1, 2, 0]
    assert read == [[11, 12]]


def test_captions_of_a_column_are_kept_and_must_be_classes(tmp_path: Path) -> None:
    file = column_file(tmp_path / "a.parquet", ["Dog", "cat", "dog"])
    given = open_column(file, "what", CLASSES, captions=True).rows(2, 4)
    assert given.labels.tolist() == [1, 1]
    assert given.captions is not None
    assert given.captions.to_pylist() == ["dog", "Dog"]


def test_the_files_of_a_folder_follow_one_another_by_name(tmp_path: Path) -> None:
    column_file(tmp_path / "b.parquet", [2, 2])
    column_file(tmp_path / "a.parquet", [0, 1, 0])
    plan = open_column(tmp_path, "what", CLASSES)
    assert labels(plan, 1, 6) == [1, 0, 2, 2, 0]


def dataset(path: Path, classes: tuple[str, ...]) -> Path:
    splits = {}
    for split, numbers in {"train": [1, 0, 0], "test": [1]}.items():
        images = np.zeros((len(numbers), 2, 2, 1), np.uint8)
        table = dataset_table([f"{split}-{i}" for i in range(len(numbers))], images, numbers, None)
        splits[split] = [write_shard(table, path, f"{split}/part-00000.parquet")]
    write_dataset_info(
        path, shape=(2, 2, 1), classes=classes, splits=splits, has_captions=False, origin={}
    )
    return path


def test_a_datasets_numbers_stand_for_its_own_classes(tmp_path: Path) -> None:
    path = dataset(tmp_path / "d", ("dog", "cat"))
    assert labels(open_column(path, "label", CLASSES), 0, 3) == [0, 1, 1]
    assert labels(open_column(path, "label", CLASSES, split="test"), 0, 1) == [0]


def test_a_dataset_of_other_classes_is_refused_with_the_row(tmp_path: Path) -> None:
    plan = open_column(dataset(tmp_path / "d", ("dog", "ox")), "label", CLASSES)
    with pytest.raises(UserError, match=r"^row 0 of .*part-00000\.parquet, column label: .* 1, on"):
        plan.check()


def test_a_plain_files_numbers_are_names_where_classes_are_called_by_numbers(
    tmp_path: Path,
) -> None:
    file = column_file(tmp_path / "a.parquet", [1, 3, -1])
    assert labels(open_column(file, "what", ("1", "2", "3")), 0, 3) == [0, 2, -1]
    with pytest.raises(UserError, match=r"row 2 .* has no class 0, only 1, 3; where"):
        open_column(column_file(tmp_path / "b.parquet", [1, 3, 0]), "what", ("1", "3")).check()


@pytest.mark.parametrize("told", [{"classes": ["2", "1"]}, {"model": {"classes": ["2", "1"]}}])
def test_a_sets_numbers_are_labels_of_the_classes_in_its_manifest(
    tmp_path: Path, told: dict[str, object]
) -> None:
    file = column_file(tmp_path / "a.parquet", [0, 1, 1])
    (tmp_path / "manifest.json").write_text(json.dumps(told))
    for path in (file, tmp_path):
        assert labels(open_column(path, "what", ("1", "2")), 0, 3) == [1, 0, 0]


def test_a_class_label_columns_numbers_are_labels_of_its_headers_classes(tmp_path: Path) -> None:
    for name, classes in (("a", ["dog", "cat"]), ("b", ["cat", "dog"])):
        feature = {"label": {"names": classes, "_type": "ClassLabel"}}
        header = {b"huggingface": json.dumps({"info": {"features": feature}})}
        table = pa.table({"label": [0, 1, 1]}).replace_schema_metadata(header)
        pq.write_table(table, tmp_path / f"{name}.parquet")
    assert labels(open_column(tmp_path / "a.parquet", "label", CLASSES), 0, 3) == [1, 0, 0]
    assert labels(open_column(tmp_path / "b.parquet", "label", CLASSES), 0, 3) == [0, 1, 1]
    with pytest.raises(UserError, match="name the labels of column label differently in their"):
        open_column(tmp_path, "label", CLASSES)


def test_a_datasets_class_called_dash_is_no_condition_of_nobody(tmp_path: Path) -> None:
    plan = open_column(dataset(tmp_path / "d", ("cat", "-")), "label", CLASSES)
    with pytest.raises(UserError, match="row 0"):
        plan.check()


@pytest.mark.parametrize(
    ("values", "captions", "message"),
    [
        ([0, 1, 2, 0, 3], False, "the model takes a class and has no class 3, only cat, dog, Bird"),
        ([0, 1, 2, 0, -2], False, "has no class -2"),
        ([0, 1, 2, 0, None], False, "there is no label; the model takes a class: cat, dog, Bird"),
        (["cat"] * 4 + ["a cat"], False, "has no class 'a cat', only cat, dog"),
        (["cat"] * 4 + ["a cat"], True, "the model takes a class and has no class 'a cat'"),
        (["cat"] * 4 + ["0"], True, "has no class '0'"),
    ],
)
def test_a_row_that_is_no_class_is_told_with_its_number_and_file(
    tmp_path: Path, values: list[object], captions: bool, message: str
) -> None:
    column_file(tmp_path / "a.parquet", values[:2])
    column_file(tmp_path / "b.parquet", pa.array(values[2:], pa.array(values).type))
    plan = open_column(tmp_path, "what", CLASSES, captions=captions)
    place = r"^row 2 of .*b\.parquet, column what: .*"
    with pytest.raises(UserError, match=place + message):
        plan.check()
    assert labels(plan, 0, 4) == labels(plan, 0, 4)  # what comes before it can be had
    with pytest.raises(UserError, match=place):
        plan.rows(3, 5)


@pytest.mark.parametrize(
    ("column", "options", "message"),
    [
        ("when", {}, "no column 'when', only other, what"),
        ("what", {}, "column what of .* is date32.*, not whole numbers or text"),
        ("other", {"captions": True}, "column other of .* is int64, not text"),
        ("what", {"split": "test"}, "--labels-split test: .* is not a dataset"),
    ],
)
def test_what_cannot_be_read_is_refused(
    tmp_path: Path, column: str, options: dict[str, object], message: str
) -> None:
    file = column_file(tmp_path / "a.parquet", pa.array([1], pa.date32()))
    with pytest.raises(UserError, match=message):
        open_column(file, column, CLASSES, **options)  # type: ignore[arg-type]


def test_no_file_and_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_column(tmp_path / "none.parquet", "what", CLASSES)
    with pytest.raises(UserError, match="has no rows in Parquet files"):
        open_column(tmp_path, "what", CLASSES)


def test_a_files_origin_is_its_content_and_not_its_place(tmp_path: Path) -> None:
    one = open_column(column_file(tmp_path / "a.parquet", [0, 1]), "what", CLASSES)
    same = open_column(column_file(tmp_path / "b.parquet", [0, 1]), "what", CLASSES)
    other = open_column(column_file(tmp_path / "c.parquet", [1, 0]), "what", CLASSES)
    assert one.origin() == same.origin() != other.origin()


def test_columns_that_give_other_labels_or_captions_have_other_origins(tmp_path: Path) -> None:
    file = column_file(tmp_path / "a.parquet", ["cat", "dog"])
    plans = [
        open_column(file, "what", CLASSES),
        open_column(file, "what", ("dog", "cat")),
        open_column(file, "what", CLASSES, captions=True),
    ]
    origins = [plan.origin() for plan in plans]
    assert all(origins.count(origin) == 1 for origin in origins)


def test_two_columns_of_that_name_are_told(tmp_path):
    pq.write_table(pa.table([[0], [1]], ["label", "label"]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="two columns called label; rename one of them"):
        open_column(tmp_path / "a.parquet", "label", ("a", "b"))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["dog", None, "cat"], pa.string_view()), [1, 0]),
        (pa.array([1.0, None, 0.0]), [1, 0]),
        (pa.array([{"name": "dog"}, None, {"name": "cat"}]), [1, 0]),
    ],
    ids=lambda values: str(getattr(values, "type", "")),
)
def test_labels_come_in_the_types_that_other_tools_write(tmp_path, values, expected):
    pq.write_table(pa.table({"what": values}), tmp_path / "a.parquet")
    name = "what.name" if pa.types.is_struct(values.type) else "what"
    names = ("0", "1") if pa.types.is_floating(values.type) else CLASSES
    plan = open_column(tmp_path / "a.parquet", name, names)
    assert [labels(plan, row, row + 1) for row in (0, 2)] == [[label] for label in expected]
    with pytest.raises(UserError, match=r"row 1 of .*a\.parquet, column what"):
        plan.check()


def test_a_number_that_is_not_whole_names_no_class(tmp_path):
    file = column_file(tmp_path / "a.parquet", [1.0, 0.5])
    with pytest.raises(UserError, match=r"row 1 of .*a\.parquet, column what.*0\.5"):
        open_column(file, "what", ("0", "1")).check()
