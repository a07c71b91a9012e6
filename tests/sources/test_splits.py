"""Dividing rows that come without splits: by seed and id alone, in about the fraction asked for."""

import pytest

from pipeline.sources.base import in_order_of_names, split_of
from pipeline.sources.splits import given_splits

IDS = [f"row-{number}" for number in range(4000)]


def test_about_the_asked_fraction_is_for_testing() -> None:
    chosen = sum(split_of(row, 0, 0.2) == "test" for row in IDS)
    # Binomial with n = 4000, p = 0.2: standard deviation 25; five of them.
    assert abs(chosen - 800) < 125


def test_the_ends_of_the_range_take_none_and_nearly_all() -> None:
    assert {split_of(row, 0, 0.0) for row in IDS} == {"train"}
    assert {split_of(row, 0, 1.0) for row in IDS} == {"test"}


def test_a_larger_fraction_only_moves_rows_from_train_to_test() -> None:
    small = {row for row in IDS if split_of(row, 7, 0.1) == "test"}
    large = {row for row in IDS if split_of(row, 7, 0.3) == "test"}
    assert small < large


def test_another_seed_divides_otherwise() -> None:
    one = {row for row in IDS if split_of(row, 0, 0.2) == "test"}
    two = {row for row in IDS if split_of(row, 1, 0.2) == "test"}
    # Two independent fifths meet in about a twenty-fifth: 160 of 4000.
    assert 100 < len(one & two) < 230


def test_the_division_is_that_of_the_first_byte_of_the_hash() -> None:
    # sha256("0:a"), sha256("0:b") ... begin with the bytes 9d e0 be 7d e0 49 5c 17: those below 80
    # are the lower half. Held fast so that later versions divide a dataset alike.
    words = ["train", "train", "train", "test", "train", "test", "test", "test"]
    assert [split_of(row, 0, 0.5) for row in "abcdefgh"] == words


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
    assert given_splits(names) == expected


def test_names_that_are_numbers_are_ordered_by_value() -> None:
    assert in_order_of_names(["10", "9", "1", "9"]) == ("1", "9", "10")
    assert in_order_of_names(["b", "10", "9"]) == ("10", "9", "b")
