"""Targets: each rule by hand, and the classes that a name or a number means."""

from hashlib import sha256

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.formats.perturbation.target import are_targets, resolved_target, targets_of

LOGITS = np.array([[3.0, -1.0, 0.0, 2.0], [0.0, 5.0, 1.0, -2.0], [1.0, 0.0, 0.5, 7.0]])
LABELS, ROWS = np.array([0, 1, 3]), np.array([4, 9, 200])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("none", [-1, -1, -1]),
        ("least_likely", [1, 3, 1]),
        ("next", [1, 2, 0]),
        ("2", [2, 2, 2]),
    ],
)
def test_each_rule_gives_its_classes(target: str, expected: list[int]) -> None:
    assert targets_of(target, LOGITS, LABELS, ROWS, 5).tolist() == expected


def test_a_random_target_is_the_hash_of_seed_and_row_and_never_the_label() -> None:
    found = targets_of("random", LOGITS, LABELS, ROWS, 5)
    for row, label, target in zip(ROWS, LABELS, found, strict=True):
        h = int(sha256(f"5:{row}".encode()).hexdigest()[:16], 16)
        assert target == (label + 1 + h % 3) % 4
    rows = np.arange(6000)
    labels = rows % 4
    many = targets_of("random", np.zeros((6000, 4)), labels, rows, 5)
    further = np.bincount((many - labels) % 4, minlength=4)
    assert further[0] == 0
    # chi² of 2 degrees of freedom exceeds 13.8 once in 1,000
    assert ((further[1:] - 2000) ** 2 / 2000).sum() < 13.8


def test_a_target_is_a_rule_or_what_a_label_is_called() -> None:
    classes = ("cat", "dog", "next")
    assert resolved_target("Dog", classes) == "1"
    assert resolved_target("1", classes) == "1"
    assert resolved_target("next", classes) == "next"
    assert resolved_target("2", classes) == "2"
    assert resolved_target("-", ("cat", "-")) == "1"
    for wrong in ("3", "-1", "bird", "", "-", "<none>"):
        with pytest.raises(UserError, match="neither none, least_likely, random, next nor one of"):
            resolved_target(wrong, classes)


def test_where_classes_are_called_by_numbers_a_target_is_a_name() -> None:
    assert resolved_target("3", ("1", "2", "3")) == "2"
    with pytest.raises(UserError, match="neither none"):
        resolved_target("0", ("1", "2", "3"))


def test_only_a_tie_excuses_another_least_likely_class() -> None:
    logits = np.array([[3.0, 0.0, 1e-5], [3.0, 0.0, 1e-5], [3.0, 0.0, 1.0]])
    labels, rows = np.zeros(3, np.int64), np.arange(3)
    told = np.array([1, 2, 2])
    found = are_targets(told, "least_likely", logits, labels, rows, 0, tie=1e-4)
    assert found.tolist() == [True, True, False]
    beyond = np.array([-1, 3, 1])
    found = are_targets(beyond, "least_likely", logits, labels, rows, 0, tie=1e-4)
    assert found.tolist() == [False, False, True]
