"""What samples are drawn on: a pure function of the index, and mistakes told with their row."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.class_names import label_by_name, refuse_reserved
from pipeline.errors import UserError
from pipeline.sampling.labels import (
    InTurn,
    PerClass,
    all_in_turn,
    captions_in_turn,
    labels_in_turn,
    per_class,
    refuse_untrained,
)
from pipeline.sampling.plan import ConditionPlan

CLASSES = ("cat", "dog", "Bird of prey")


def labels(plan: ConditionPlan, start: int, stop: int) -> list[int]:
    given = plan.rows(start, stop)
    assert given.labels.dtype == np.int64
    return given.labels.tolist()


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


def test_nothing_is_drawn_of_classes_that_nothing_was_trained_on() -> None:
    assert labels(all_in_turn(CLASSES, [1]), 0, 4) == [0, 2, 0, 2]
    assert per_class(2, CLASSES, "--per-class", [0, 2]).counts == {1: 2}
    refuse_untrained(np.array([0, 2, -1]), CLASSES, (1,), "--labels")
    told = f"--labels: no picture was trained on for the class {CLASSES[1]}; leave it out"
    with pytest.raises(UserError, match=told):
        refuse_untrained(np.array([0, 1]), CLASSES, (1,), "--labels")


def test_a_label_is_a_name_in_any_case_or_a_number_or_a_dash() -> None:
    plan = labels_in_turn(("DOG", " bird of prey", "0", "-", "<none>"), CLASSES, "--labels")
    assert plan.labels == (1, 2, 0, -1, -1)


def test_where_classes_are_called_by_numbers_a_number_is_a_name_alone() -> None:
    assert labels_in_turn(("3", "1"), ("1", "2", "3"), "--labels").labels == (2, 0)
    with pytest.raises(UserError, match=r"has no class '0', only 1, 2, 3; .* a number is a name"):
        labels_in_turn(("0",), ("1", "2", "3"), "--labels")


def test_classes_that_are_called_by_their_own_labels_leave_numbers_to_the_others() -> None:
    assert labels_in_turn(("1", "2"), ("0", "1", "other"), "--labels").labels == (1, 2)


def test_a_class_called_dash_leaves_no_condition_its_other_spelling() -> None:
    classes = ("+", "-", " padded ")
    plan = labels_in_turn(("-", "<none>", "<NONE>", " padded ", "padded"), classes, "--labels")
    assert plan.labels == (1, -1, -1, 2, 2)
    assert per_class({"-": 2, "<none>": 1}, classes, "--per-class").counts == {1: 2, -1: 1}
    with pytest.raises(UserError, match="which is how no condition is spelled; rename it"):
        refuse_reserved(("cat", "<None>"))


def test_a_name_that_fits_two_classes_but_for_its_case_must_be_spelt_out() -> None:
    assert label_by_name("ape", ("Ape", "ape", "APE")) == 1
    assert label_by_name("aPE", ("Ape", "ape", "APE")) is None


@pytest.mark.parametrize("text", ["horse", "3", "-1", "", "²", "9" * 5000])
def test_what_is_no_class_is_told_with_the_classes_there_are(text: str) -> None:
    with pytest.raises(
        UserError, match=r"^--labels: the model takes a class and has no class"
    ) as e:
        labels_in_turn(("cat", text), CLASSES, "--labels")
    shown = repr(text) if len(text) < 80 else repr(text)[:77] + "..."
    assert str(e.value).endswith(f"{shown}, only cat, dog, Bird of prey")


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


def test_plans_that_give_other_labels_or_captions_have_other_origins() -> None:
    plans: list[ConditionPlan] = [
        InTurn((0, 1)),
        InTurn((1, 0)),
        InTurn((0, 1), ("cat", "dog")),
        InTurn((0, 1), ("cat", "Dog")),
        PerClass({0: 1, 1: 1}),
        PerClass({1: 1, 0: 1}),
    ]
    origins = [plan.origin() for plan in plans]
    assert all(origins.count(origin) == 1 for origin in origins)
