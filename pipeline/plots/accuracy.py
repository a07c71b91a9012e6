"""Accuracy against the size of a change: what a perturbation set shows of it, and its curve."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.formats.shard import iterate, labels_of, shards_from_json
from pipeline.intervals import clopper_pearson
from pipeline.pictures import LEVELS
from pipeline.plots.figures import ticker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TENTHS = 10  # sizes are counted in tenths of a level, rounded upwards, so memory stays flat
NORM_NAMES = {
    "linf": "largest change of a value, in levels of 1/255",
    "l2": "length of the change (L2), values in [0, 1]",
    "l1": "sum of the changes (L1), values in [0, 1]",
}
_LEVELS_A_UNIT = {"linf": 1, "l2": LEVELS, "l1": LEVELS}  # of a set's columns


@dataclass(frozen=True)
class SetFigures:
    """What the pictures show of a perturbation set.

    Attributes:
        norm: of the attack.
        eps: the radius in levels of 1/255; 0 where there is no ball.
        rows: pictures in the set.
        clean_right: those that are classified rightly when clean.
        sizes: size of a change, in tenths of a level, to the number of broken pictures with it.
        passes_broken: forward and backward passes to the number of broken pictures that took them.
        passes_standing: the same for pictures that withstood.
    """

    norm: str
    eps: int
    rows: int
    clean_right: int
    sizes: Mapping[int, int]
    passes_broken: Mapping[int, int]
    passes_standing: Mapping[int, int]

    @property
    def unit(self) -> float:
        """Tenths of a level in one unit of the norm's axis: levels for L∞, else [0, 1] units."""
        return TENTHS * _LEVELS_A_UNIT[self.norm]

    @property
    def clean_accuracy(self) -> float:
        """Share of the pictures that are right when clean."""
        return self.clean_right / self.rows

    @property
    def median_size(self) -> float | None:
        """The median change that broke a picture, in the unit of the axis; None if none broke."""
        return median(self.sizes) / self.unit if self.sizes else None

    def accuracy_within(self) -> tuple[np.ndarray, np.ndarray]:
        """The accuracy that is left within each size of change, at the sizes where it changes.

        An upper bound of the true accuracy: a smaller change than the one in the set may break a
        picture, too.

        Returns:
            The sizes, rising from 0, and the accuracies.
        """
        tenths = np.array(sorted(self.sizes), dtype=np.int64)
        lost = np.cumsum([self.sizes[int(size)] for size in tenths], dtype=np.int64)
        sizes = np.concatenate(([0.0], tenths / self.unit))
        left = self.clean_right - np.concatenate((np.zeros(1, np.int64), lost))
        return sizes, left / self.rows


def figures_of(directory: Path, manifest: Mapping[str, Any]) -> SetFigures:
    """Counts over the rows of a set; one shard is in memory at a time.

    Args:
        manifest: with attack and shards.
    """
    attack = manifest["attack"]
    norm = str(attack["norm"])
    counts: dict[str, Counter[int]] = {name: Counter() for name in ("sizes", "broken", "standing")}
    rows = clean_right = 0
    columns = ["label", "clean_prediction", "success", norm, "forwards", "backwards"]
    shards = shards_from_json(manifest["shards"], directory)
    for table in iterate(directory, shards, columns):
        right = labels_of(table, "clean_prediction") == labels_of(table)
        won = table.column("success").to_numpy()
        size = table.column(norm).to_numpy() * _LEVELS_A_UNIT[norm]
        passes = table.column("forwards").to_numpy() + table.column("backwards").to_numpy()
        # A whole number of levels may be off by a rounding error, and is to stay one.
        tenths = np.ceil(size[won] * TENTHS - 1e-6).astype(np.int64)
        for name, values in (
            ("sizes", tenths),
            ("broken", passes[won]),
            ("standing", passes[right & ~won]),
        ):
            counts[name].update(values.tolist())
        rows += len(won)
        clean_right += int(right.sum())
    return SetFigures(
        norm,
        int(attack["eps"]),
        rows,
        clean_right,
        counts["sizes"],
        counts["broken"],
        counts["standing"],
    )


def reach(figures: SetFigures) -> float:
    """The largest size in a set: of its ball or of a change."""
    return max(figures.eps * TENTHS / figures.unit, float(figures.accuracy_within()[0][-1]))


def draw_curve(axes: "Axes", figures: SetFigures, colour: str, end: float, label: str) -> None:
    """The accuracy within each size of change, up to ``end``."""
    sizes, left = figures.accuracy_within()
    axes.step([*sizes, end], [*left, left[-1]], where="post", color=colour, label=label)


def draw_point(axes: "Axes", figures: SetFigures, colour: str, name: str = "") -> None:
    """The accuracy within a set's ball, with its interval."""
    left, eps = figures.accuracy_within()[1][-1], figures.eps * TENTHS / figures.unit
    low, high = clopper_pearson(round(left * figures.rows), figures.rows)
    axes.errorbar(
        [eps],
        [left],
        yerr=[[left - low], [high - left]],
        fmt="o",
        color=colour,
        capsize=4,
        label=f"{name}{': ' if name else ''}{left:.1%} at ε = {eps:.4g} (95 % interval)",
    )


def dress_accuracy(
    axes: "Axes", norm: str, end: float, what: str = "right answers, at most"
) -> None:
    """Axes from no change to ``end``, and from none right to all."""
    axes.set_xlim(-0.02 * end, end)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(ticker().PercentFormatter(1.0))
    axes.set_xlabel(NORM_NAMES[norm])
    axes.set_ylabel(what)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8, loc="best")


def median(counts: Mapping[int, int]) -> float:
    """The lower median of counted values."""
    values = np.array(sorted(counts))
    upto = np.cumsum([counts[int(value)] for value in values])
    return float(values[np.searchsorted(upto, (upto[-1] + 1) // 2)])
