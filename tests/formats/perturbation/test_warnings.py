"""Warnings that follow from a set's rows: given where the rows call for them, and only there."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.formats.perturbation.warnings import doubtful_rows, row_warnings

PGD = {"attack": "pgd", "restarts": 3}
# Of `doubtful_rows`.
NONE = {"unmoved": 0, "gradient_free": 0, "last_restart": 0, "within_threshold": 0}
COLUMNS = (
    "label", "clean_prediction", "success", "linf", "attack", "found_attack", "found_restart",
)  # fmt: skip


def rows_table(rows):
    """Rows of (label, clean_prediction, success, linf, attack, found_attack, found_restart)."""
    columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    turned = zip(columns["label"], columns["success"], strict=True)
    said = [label + won for label, won in turned]
    return pa.table({**columns, "adversarial_prediction": said, "target": [-1] * len(rows)})


def test_each_count_is_of_the_rows_that_it_names():
    rows = [
        (1, 1, True, 8, "autoattack", "apgd_ce", 0),
        (1, 1, True, 8, "autoattack", "square", 0),  # broke what the gradients left
        (1, 1, False, 8, "autoattack", "square", 0),  # came nearer, and did not break it
        (1, 1, False, 0, "autoattack", "apgd_ce", 0),  # unmoved
        (1, 2, False, 0, "autoattack", "apgd_ce", 0),  # wrong from the start
    ]
    found = doubtful_rows(rows_table(rows), {})
    assert found == {**NONE, "unmoved": 1, "gradient_free": 1}
    alone = [(1, 1, True, 8, "square", "square", 0)] * 4
    assert doubtful_rows(rows_table(alone), {}) == NONE
    restarts = [(1, 1, True, 8, "pgd", "pgd", n) for n in (0, 1, 1, 2, 2, 2)]
    assert doubtful_rows(rows_table(restarts), PGD)["last_restart"] == 3
    assert doubtful_rows(rows_table(restarts[:1]), {"restarts": 1})["last_restart"] == 0


def test_a_picture_of_the_targets_class_is_not_attacked_and_not_called_unmoved():
    rows = [(label, label, False, 0, "pgd", "pgd", 0) for label in (3, 3, 4)]
    table = rows_table(rows).drop_columns("target").append_column("target", pa.array([3] * 3))
    assert doubtful_rows(table, {"target": "3"}) == {**NONE, "unmoved": 1}


def warned(attack=PGD, num_classes=10, **counts):
    counts = {"rows": 1000, "clean_right": 900, "successes": 100, **NONE, "trivial": 0, **counts}
    return {w.code: (w.count, w.of) for w in row_warnings(counts, attack, num_classes)}


def test_an_ordinary_set_gives_no_warning():
    assert warned() == {}


def test_square_beating_gradients_and_unmoved_pictures_are_warned_of():
    assert warned(gradient_free=1) == {"masked_gradient": (1, 900)}
    assert warned(unmoved=7) == {"unmoved": (7, 900)}


@pytest.mark.parametrize(
    ("attack", "rows", "last", "expected"),
    [
        (PGD, 1000, 3, True),
        (PGD, 1000, 2, False),  # two tenths of a point
        (PGD, 100, 1, False),  # one picture
        (PGD, 100, 2, True),
        ({"attack": "apgd_targeted", "restarts": 9}, 1000, 50, False),  # its classes end there
    ],
)
def test_restarts_that_still_gain_are_warned_of(attack, rows, last, expected):
    found = warned(attack, rows=rows, clean_right=rows, last_restart=last)
    assert ("restarts" in found) == expected


def test_answers_no_better_than_guessing_are_warned_of():
    """The binomial tail: of 1,000 guesses among 10, 125 or more are right with 0.5 %."""
    tail = np.random.default_rng(0).binomial(1000, 0.1, 200_000)
    assert (tail >= 125).mean() < 0.01 < (tail >= 120).mean()
    assert "chance" in warned(clean_right=100)
    assert "chance" in warned(clean_right=120)
    assert "chance" not in warned(clean_right=125)
    assert "chance" in warned(clean_right=520, num_classes=2)
    assert "chance" not in warned(clean_right=600, num_classes=2)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_a_few_rows_are_not_called_guesses(num_classes):
    """Four of four: 95 % interval from 40 % to 100 %, in which guessing and no mistake both lie."""
    few = {"rows": 4, "successes": 0, "num_classes": num_classes}
    assert "chance" not in warned(clean_right=4, **few)
    assert "chance" not in warned(clean_right=2, **few)


def test_rows_enough_to_rule_out_a_good_classifier_are_called_guesses():
    assert "chance" in warned(rows=20, clean_right=2, successes=0)
    assert "chance" in warned(rows=40, clean_right=20, successes=0, num_classes=2)


@pytest.mark.parametrize(
    ("attack", "said", "unsaid"),
    [
        ("mine.attacks:pgd", "came back unmoved", "gradient"),
        ("transfer", "in the set whose pictures are shown", "gradient"),
        ("square", "no picture that was tried came nearer", "gradient"),
        ("pgd", "as where the gradient vanishes", "came back"),
    ],
)
def test_unmoved_pictures_are_laid_to_what_the_attack_looks_at(attack, said, unsaid):
    counts = {"rows": 100, "clean_right": 90, "successes": 9, **NONE, "unmoved": 3, "trivial": 0}
    (told,) = row_warnings(counts, {"attack": attack, "restarts": 1}, 10)
    assert told.code == "unmoved"
    assert said in told.text
    assert unsaid not in told.text
