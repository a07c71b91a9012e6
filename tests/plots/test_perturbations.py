"""The perturbation picture shows the stored pictures, their change, and both predictions."""

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pipeline.formats.perturbation.set import PerturbationColumns, perturbation_table
from pipeline.plots.perturbations import (
    PerturbationExamples,
    choose_examples,
    gain_for,
    magnified_change,
    perturbation_figure,
)

ATTACK = {"attack": "pgd", "norm": "linf", "eps": 9, "steps": 4, "seed": 2}


def examples(num: int, channels: int) -> PerturbationExamples:
    generator = np.random.default_rng(0)
    images = generator.integers(20, 230, (num, 6, 5, channels), dtype=np.uint8)
    return PerturbationExamples(
        images=images,
        adversarial=images + np.uint8(7),
        labels=np.arange(num) % 3,
        clean_predictions=np.arange(num) % 3,
        adversarial_predictions=(np.arange(num) + 1) % 3,
        classes=("ant", "bee", "cat"),
    )


def texts(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.get_axes() if axis.get_title()]


@pytest.mark.parametrize(("num", "channels"), [(1, 1), (4, 3), (5, 1), (8, 3)])
def test_each_row_shows_both_predictions_and_the_largest_change(num: int, channels: int) -> None:
    figure = perturbation_figure(examples(num, channels), "a title")
    names = ("ant", "bee", "cat")
    expected = []
    for i in range(num):
        says = [f"says {names[i % 3]}", "largest change 7/255", f"says {names[(i + 1) % 3]}"]
        expected += says
    assert sorted(texts(figure)) == sorted(expected)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert np.asarray(Image.open(buffer)).std() > 10


def test_the_middle_column_is_the_change_times_ten_around_grey() -> None:
    clean = np.array([100, 100, 100, 0, 255], np.uint8).reshape(1, 1, 5, 1)
    stored = np.array([100, 103, 95, 40, 200], np.uint8).reshape(1, 1, 5, 1)
    assert magnified_change(clean, stored, 10).ravel().tolist() == [128, 158, 78, 255, 0]


@pytest.mark.parametrize(
    ("change", "gain"), [(0, 10), (8, 10), (12, 10), (25, 5), (64, 1), (200, 1)]
)
def test_the_change_is_amplified_as_far_as_nothing_is_clipped(change: int, gain: int) -> None:
    clean = np.full((3, 2, 2, 1), 20, np.uint8)
    stored = clean.copy()
    stored[1, 0, 1, 0] += change
    assert gain_for(clean, stored) == gain
    assert gain * change <= 127 or gain == 1


def seven_rows(clean: np.ndarray | None = None) -> pa.Table:
    """Rows whose pictures hold their numbers; clean: what was said of them, right by default."""
    labels = np.array([2, 2, 2, 0, 2, 1, 0])
    images = np.zeros((7, 2, 2, 1), np.uint8) + np.arange(7, dtype=np.uint8)[:, None, None, None]
    columns = PerturbationColumns(
        ids=list("abcdefg"),
        split="test",
        rows=np.arange(7),
        labels=labels,
        images=images,
        adversarial=images,
        clean_predictions=np.array([2, 2, 2, 0, 2, 1, 0]) if clean is None else clean,
        adversarial_predictions=np.array([2, 0, 0, 0, 0, 1, 0]),
        margins=np.array([-1.0, 1, 1, -1, 1, -1, -1]),
        found_attacks=["pgd"] * 7,
        found_restarts=np.zeros(7, np.int64),
        found_steps=np.ones(7, np.int64),
        forwards=np.full(7, 3),
        backwards=np.full(7, 2),
    )
    return perturbation_table(columns, ATTACK)


def shown(table: pa.Table, num: int) -> list[int]:
    return choose_examples(table, ("x", "y", "z"), num).images[:, 0, 0, 0].tolist()


def test_rows_are_chosen_one_a_class_first_and_never_by_their_success() -> None:
    table = seven_rows()
    assert shown(table, 3) == [0, 3, 5]
    assert shown(table, 5) == [0, 1, 2, 3, 5]
    assert len(shown(table, 30)) == 7


def test_rows_that_were_wrong_from_the_start_are_not_shown() -> None:
    table = seven_rows(np.array([0, 2, 2, 1, 2, 2, 0]))
    assert shown(table, 2) == [1, 6]
    assert shown(table, 30) == [1, 2, 4, 6]
    none_right = np.array([0, 0, 0, 1, 0, 0, 1])
    assert shown(seven_rows(none_right), 3) == [0, 3, 5]


@pytest.mark.parametrize("num", [3, 8])
def test_long_names_are_cut_and_not_the_tiles(num: int) -> None:
    """Real data sets name classes "tench, Tinca tinca" and worse; a dollar sign is no formula."""
    names = [f"{start}, a name that goes on and on and has $ five $^ words" for start in "abc"]
    sizes = []
    for classes in (("ant", "bee", "cat"), names):
        figure = perturbation_figure(replace(examples(num, 1), classes=classes), "a title")
        FigureCanvasAgg(figure).draw()
        sizes.append([axis.get_window_extent().width for axis in figure.get_axes() if axis.images])
        for axis in figure.get_axes():
            if axis.images:
                titled = axis.title.get_window_extent()
                assert titled.width <= 1.25 * axis.get_window_extent().width
    assert sizes[1] == pytest.approx(sizes[0], rel=0.15)
