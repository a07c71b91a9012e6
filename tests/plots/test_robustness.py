"""The figures of a set: its curve is a count of its rows, and each panel says what it shows."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipeline.formats.perturbation.set import PerturbationColumns, perturbation_table
from pipeline.formats.shard import write_shard
from pipeline.plots.accuracy import SetFigures, figures_of
from pipeline.plots.robustness import (
    ROBUSTNESS_FILE,
    draw_robustness,
    robustness_figure,
)
from pipeline.plots.titles import attack_title

CHANGES = [3, 5, 5, 8, 8, 2]  # levels of one value
MARGINS = [1.0, 1.0, 1.0, 1.0, -1.0, 1.0]  # the fifth withstands
CLEAN = [0, 0, 0, 0, 0, 1]  # the last was wrong from the start
FORWARDS = [4, 6, 6, 10, 40, 1]


def write_rows(path: Path, norm: str, eps: int) -> dict[str, object]:
    """Six rows in two shards; the manifest's part that the figures need."""
    attack = {"attack": "pgd", "norm": norm, "eps": eps, "steps": 4, "seed": 2}
    images = np.full((6, 2, 2, 1), 100, np.uint8)
    stored = images.copy()
    stored[:, 0, 0, 0] += np.array(CHANGES, np.uint8)
    shards = []
    for number, rows in enumerate((slice(0, 4), slice(4, 6))):
        chosen = np.arange(6)[rows]
        columns = PerturbationColumns(
            ids=[str(row) for row in chosen],
            split="test",
            rows=chosen,
            labels=np.zeros(len(chosen), np.int64),
            images=images[rows],
            adversarial=stored[rows],
            clean_predictions=np.array(CLEAN)[rows],
            adversarial_predictions=np.ones(len(chosen), np.int64),
            margins=np.array(MARGINS)[rows],
            found_attacks=["pgd"] * len(chosen),
            found_restarts=np.zeros(len(chosen), np.int64),
            found_steps=np.ones(len(chosen), np.int64),
            forwards=np.array(FORWARDS)[rows],
            backwards=np.array(FORWARDS)[rows] - 1,
        )
        shard = write_shard(perturbation_table(columns, attack), path, f"part-{number:05d}.parquet")
        shards.append(vars(shard))
    return {"attack": attack, "shards": shards}


@pytest.mark.parametrize(("norm", "unit"), [("linf", 1), ("l2", 255), ("l1", 255)])
def test_the_curve_is_the_share_of_rows_right_and_not_broken_by_a_smaller_change(
    tmp_path: Path, norm: str, unit: int
) -> None:
    figures = figures_of(tmp_path, write_rows(tmp_path, norm, 8))
    assert (figures.rows, figures.clean_right) == (6, 5)
    sizes, left = figures.accuracy_within()
    assert sizes * unit == pytest.approx([0, 3, 5, 8])
    assert left == pytest.approx([5 / 6, 4 / 6, 2 / 6, 1 / 6])
    assert figures.passes_broken == {7: 1, 11: 2, 19: 1}
    assert figures.passes_standing == {79: 1}


def words(figure: Figure) -> str:
    found = []
    for axes in figure.get_axes():
        legend = axes.get_legend()
        found += [axes.get_title(), axes.get_xlabel(), axes.get_ylabel()]
        found += [text.get_text() for text in (legend.get_texts() if legend else axes.texts)]
    return "\n".join(found)


def test_each_panel_tells_its_figures_in_words(tmp_path: Path) -> None:
    told = words(robustness_figure(figures_of(tmp_path, write_rows(tmp_path, "linf", 8)), "pgd"))
    for text in (
        "83.3% clean",
        "16.7% at ε = 8 (95 % interval)",
        "largest change of a value, in levels of 1/255",
        "right answers, at most",
        "median 5",
        "4 broken, median 11",
        "1 standing, median 79",
        "32 passes in all for each success",  # (7 + 11 + 11 + 19 + 79) / 4 = 31.75
    ):
        assert text in told
    free = words(robustness_figure(figures_of(tmp_path, write_rows(tmp_path, "l2", 0)), "fmn"))
    assert "interval" not in free
    assert "length of the change (L2), values in [0, 1]" in free
    assert f"median {5 / 255:.4g}" in free


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("none", ""),
        ("least_likely", ", towards the least likely class"),
        ("1", ", towards seven"),
    ],
)
def test_a_title_names_attack_norm_radius_and_target(target: str, words: str) -> None:
    attack = {"attack": "pgd", "norm": "linf", "eps": 8, "target": target}
    manifest = {"attack": attack, "model": {"classes": ["three", "seven"]}}
    assert attack_title(manifest) == f"pgd, linf, eps 8/255{words}"
    attack["eps"] = 0
    assert attack_title(manifest) == f"pgd, linf{words}"


@pytest.mark.parametrize("most", [1, 2, 3, 7, 250])
def test_an_axis_of_counts_marks_whole_numbers(most: int) -> None:
    figures = SetFigures("linf", 8, 2 * most, 2 * most, {10: most}, {3: most}, {5: most})
    _, sizes, cost = robustness_figure(figures, "a title").get_axes()
    for axis in (sizes.yaxis, cost.yaxis, sizes.xaxis):
        marks = axis.get_majorticklocs()
        assert len(marks) > 1
        assert np.array_equal(marks, np.round(marks))


@pytest.mark.parametrize(
    "figures",
    [
        SetFigures("linf", 8, 5, 4, {}, {}, {40: 4}),
        SetFigures("l2", 0, 5, 0, {}, {}, {}),
        SetFigures("l2", 0, 5, 1, {0: 1}, {3: 1}, {}),
        SetFigures("linf", 1, 1, 1, {10: 1}, {3: 1}, {}),
    ],
)
def test_sets_in_which_nothing_or_all_was_broken_are_drawn(figures: SetFigures) -> None:
    buffer = io.BytesIO()
    robustness_figure(figures, "a title").savefig(buffer, format="png")
    assert np.asarray(Image.open(buffer)).std() > 10


def test_the_picture_is_written_beside_the_set(tmp_path: Path) -> None:
    draw_robustness(tmp_path, write_rows(tmp_path, "linf", 8))
    with Image.open(tmp_path / ROBUSTNESS_FILE) as picture:
        assert picture.width > 1200


def test_rows_that_stand_by_a_mean_answer_are_not_called_an_accuracy(tmp_path):
    manifest = write_rows(tmp_path, "linf", 8)
    manifest["model"] = {"kind": "through", "through": "purifier", "classes": list("abc")}
    attack = {"attack": "apgd_ce", "norm": "linf", "eps": 8}
    assert attack_title({**manifest, "attack": attack}) == (
        "apgd_ce, linf, eps 8/255, through a purifier"
    )
    told = words(robustness_figure(figures_of(tmp_path, manifest), "apgd_ce", "standing"))
    assert "standing within a change of this size" in told
    assert not any("accuracy" in text for text in told)
