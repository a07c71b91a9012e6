"""Splits that a source gives, and classes in order."""

import pytest

from pipeline.sources.base import in_order_of_names
from pipeline.sources.splits import usable_splits


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train", "test", "train"], ("train", "test")),
        (["test", "validation", "train"], ("train", "validation", "test")),
        (["train", "train"], ()),
        (["test", "test"], ("test",)),
        (["validation"], ("validation",)),
        ([], ()),
    ],
)
def test_train_alone_is_divided_and_what_is_for_judging_never(
    names: list[str], expected: tuple[str, ...]
) -> None:
    assert usable_splits(names) == expected


def test_names_that_are_numbers_are_ordered_by_value() -> None:
    assert in_order_of_names(["10", "9", "1", "9"]) == ("1", "9", "10")
    assert in_order_of_names(["b", "10", "9"]) == ("10", "9", "b")
