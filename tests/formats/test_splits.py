"""Which split a job reads that is not told: any dataset with pictures to judge on is usable."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, Shard
from pipeline.formats.splits import judged_split, train_split


def dataset(**rows: int) -> DatasetInfo:
    splits = {name: (Shard("x", count, "", 1),) if count else () for name, count in rows.items()}
    return DatasetInfo(Path("/data"), (1, 1, 1), ("a",), splits, False, "")


def test_what_is_judged_on_is_test_else_validation_else_what_is_named() -> None:
    assert judged_split(dataset(train=3, validation=2, test=1)) == "test"
    assert judged_split(dataset(train=3, validation=2)) == "validation"
    assert judged_split(dataset(train=3, validation=2, test=0)) == "validation"
    assert judged_split(dataset(validation=2)) == "validation"
    assert judged_split(dataset(train=3, test=1), "train") == "train"


@pytest.mark.parametrize(
    ("rows", "named", "told"),
    [
        ({"train": 3}, None, "neither a split test nor validation .*only train; .*with --split"),
        ({"train": 3, "test": 0}, None, "the split test of .* is empty; only train; .*--split"),
        ({"train": 3}, "dev", "no split 'dev', only train; name one of these with --split"),
    ],
)
def test_what_cannot_be_judged_on_is_told_with_the_flag(
    rows: dict[str, int], named: str | None, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        judged_split(dataset(**rows), named)


def test_a_dataset_without_pictures_to_train_on_is_told_how_to_get_some() -> None:
    assert train_split(dataset(train=1, test=1), "the stack") == "train"
    for rows in ({"test": 1}, {"train": 0, "test": 1}):
        with pytest.raises(UserError, match=r"the stack needs one; .* --splits-from draw"):
            train_split(dataset(**rows), "the stack")
