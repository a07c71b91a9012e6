"""What samples are drawn on: a pure function of the index, and mistakes told with their row."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.formats.dataset import dataset_table, write_dataset_info, write_shard
from pipeline.sampling.labels import (
    InTurn,
    LabelPlan,
    PerClass,
    all_in_turn,
    captions_in_turn,
    label_named,
    labels_in_turn,
    open_column,
    per_class,
)

CLASSES = ("cat", "dog", "Bird of prey")


def labels(plan: LabelPlan, start: int, stop: int) -> list[int]:
    given = plan.rows(start, stop)
    assert given.labels.dtype == np.int64
    return given.labels.tolist()


def column_file(path: Path, values: pa.Array | list[object], **options: int) -> Path:
    pq.write_table(pa.table({"other": [0] * len(values), "what": values}), path, **options)
    return path


# --- in turn ---


def test_labels_are_given_in_turn_wherever_a_shard_begins() -> None:
    plan = InTurn((2, 0, -1))
    assert labels(plan, 0, 7) == [2, 0, -1, 2, 0, -1, 2]
    assert labels(plan, 4, 6) == [0, -1]
    assert labels(plan, 10**12, 10**12 + 1) == [[2, 0, -1][10**12 % 3]]
    assert plan.num_rows is None


def test_without_a_word_all_classes_come_in_turn_and_no_condition_without_classes() -> None:
    assert labels(all_in_turn(CLASSES), 0, 4) == [0, 1, 2, 0]
    assert labels(all_in_turn(()), 0, 2) == [-1, -1]


def test_a_label_is_a_name_in_any_case_or_a_number_or_a_dash() -> None:
    plan = labels_in_turn(("DOG", " bird of prey", "0", "-"), CLASSES, "--labels")
    assert plan.labels == (1, 2, 0, -1)


def test_where_classes_are_called_by_numbers_a_number_is_a_name_alone() -> None:
    assert labels_in_turn(("3", "1"), ("1", "2", "3"), "--labels").labels == (2, 0)
    with pytest.raises(UserError, match="has no class '0', only 1, 2, 3"):
        labels_in_turn(("0",), ("1", "2", "3"), "--labels")


def test_a_name_that_fits_two_classes_but_for_its_case_must_be_spelt_out() -> None:
    assert label_named("ape", ("Ape", "ape", "APE")) == 1
    assert label_named("aPE", ("Ape", "ape", "APE")) is None


@pytest.mark.parametrize("text", ["horse", "3", "-1", "", "²"])
def test_what_is_no_class_is_told_with_the_classes_there_are(text: str) -> None:
    with pytest.raises(
        UserError, match=r"^--labels: the model takes a class and has no class"
    ) as e:
        labels_in_turn(("cat", text), CLASSES, "--labels")
    assert str(e.value).endswith(f"{text!r}, only cat, dog, Bird of prey")


def test_of_many_classes_a_message_names_twelve() -> None:
    with pytest.raises(UserError, match=r"class 11 and 988 more$"):
        labels_in_turn(("x",), [f"class {i}" for i in range(1000)], "--labels")


def test_captions_resolve_to_labels_and_are_kept_as_they_were_written() -> None:
    plan = captions_in_turn(("Dog", "cat "), CLASSES, "--captions")
    given = plan.rows(1, 4)
    assert given.labels.tolist() == [0, 1, 0]
    assert given.captions is not None
    assert given.captions.to_pylist() == ["cat ", "Dog", "cat "]


def test_a_caption_is_never_a_number() -> None:
    with pytest.raises(UserError, match="--captions: the model takes a class and has no class '0'"):
        captions_in_turn(("0",), CLASSES, "--captions")


# --- per class ---


@given(
    counts=st.dictionaries(st.integers(-1, 5), st.integers(0, 9), min_size=1),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_each_class_gets_its_number_however_the_rows_are_cut(
    counts: dict[int, int], cuts: list[int]
) -> None:
    plan = PerClass(counts)
    total = sum(counts.values())
    assert plan.num_rows == total
    whole = labels(plan, 0, total)
    assert Counter(whole) == Counter({label: n for label, n in counts.items() if n})
    edges = [0, *sorted(min(cut, total) for cut in cuts), total]
    assert [label for a, b in pairwise(edges) for label in labels(plan, a, b)] == whole


def test_classes_come_in_turn_until_each_has_its_number() -> None:
    plan = per_class({"dog": 1, "bird of prey": 4, "cat": 2}, CLASSES, "--per-class")
    assert labels(plan, 0, 7) == [1, 2, 0, 2, 0, 2, 2]


def test_one_number_is_for_every_class_and_the_same_as_all_in_turn() -> None:
    plan = per_class(4, CLASSES, "--per-class")
    assert plan.num_rows == 12
    assert labels(plan, 0, 12) == labels(all_in_turn(CLASSES), 0, 12)


def test_a_billion_rows_a_class_cost_no_memory() -> None:
    plan = per_class({"cat": 10**9, "dog": 10**9 - 1}, CLASSES, "--per-class")
    assert labels(plan, 2 * 10**9 - 4, 2 * 10**9 - 1) == [0, 1, 0]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"horse": 3}, "has no class 'horse', only cat, dog, Bird of prey"),
        ({"dog": 3, "DOG": 4}, "gives a class two numbers"),
        ({"dog": 0}, "asks for no sample at all$"),
        ({}, "--per-class is empty"),
        (0, "asks for no sample at all$"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(counts: int | dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        per_class(counts, CLASSES, "--per-class")


def test_a_model_without_classes_has_none_to_number() -> None:
    with pytest.raises(UserError, match="no classes; say how many with --count"):
        per_class(5, (), "--per-class")
    with pytest.raises(UserError, match="the model has no classes, so nothing but '-'"):
        per_class({"cat": 5}, (), "--per-class")


# --- a column ---


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
        ("what", {}, "column what of .* is double, not whole numbers or text"),
        ("other", {"captions": True}, "column other of .* is int64, not text"),
        ("what", {"split": "test"}, "--labels-split test: .* is not a dataset"),
    ],
)
def test_what_cannot_be_read_is_refused(
    tmp_path: Path, column: str, options: dict[str, object], message: str
) -> None:
    file = column_file(tmp_path / "a.parquet", [0.5])
    with pytest.raises(UserError, match=message):
        open_column(file, column, CLASSES, **options)  # type: ignore[arg-type]


def test_no_file_and_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_column(tmp_path / "none.parquet", "what", CLASSES)
    with pytest.raises(UserError, match="has no rows in Parquet files"):
        open_column(tmp_path, "what", CLASSES)


# --- what decides the labels ---


def test_a_files_origin_is_its_content_and_not_its_place(tmp_path: Path) -> None:
    one = open_column(column_file(tmp_path / "a.parquet", [0, 1]), "what", CLASSES)
    same = open_column(column_file(tmp_path / "b.parquet", [0, 1]), "what", CLASSES)
    other = open_column(column_file(tmp_path / "c.parquet", [1, 0]), "what", CLASSES)
    assert one.origin() == same.origin() != other.origin()


def test_plans_that_give_other_labels_or_captions_have_other_origins(tmp_path: Path) -> None:
    file = column_file(tmp_path / "a.parquet", ["cat", "dog"])
    plans: list[LabelPlan] = [
        InTurn((0, 1)),
        InTurn((1, 0)),
        InTurn((0, 1), ("cat", "dog")),
        InTurn((0, 1), ("cat", "Dog")),
        PerClass({0: 1, 1: 1}),
        PerClass({1: 1, 0: 1}),
        open_column(file, "what", CLASSES),
        open_column(file, "what", ("dog", "cat")),
        open_column(file, "what", CLASSES, captions=True),
    ]
    origins = [plan.origin() for plan in plans]
    assert all(origins.count(origin) == 1 for origin in origins)
