"""The plots of a perturbation set: accuracy against the size of changes, sizes, and cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, PercentFormatter

from pipeline.formats.output import atomic_path
from pipeline.formats.shard import iterate, labels_of, shards_from_json
from pipeline.intervals import clopper_pearson
from pipeline.pictures import LEVELS
from pipeline.plots.titles import attack_title

ROBUSTNESS_FILE = "robustness.png"
_BROKEN, _STANDING = "#cf222e", "#1f6feb"
_TENTHS = 10  # sizes are counted in tenths of a level, rounded upwards, so memory stays flat
_NAMES = {
    "linf": "largest change of a value, in levels of 1/255",
    "l2": "length of the change (L2), values in [0, 1]",
    "l1": "sum of the changes (L1), values in [0, 1]",
}
_LEVELS_A_UNIT = {"linf": 1, "l2": LEVELS, "l1": LEVELS}  # of a set's columns
_BINS, _COST_BINS = 40, 24


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
        return _TENTHS * _LEVELS_A_UNIT[self.norm]

    @property
    def clean_accuracy(self) -> float:
        """Share of the pictures that are right when clean."""
        return self.clean_right / self.rows

    @property
    def median_size(self) -> float | None:
        """The median change that broke a picture, in the unit of the axis; None if none broke."""
        return _median(self.sizes) / self.unit if self.sizes else None

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
        tenths = np.ceil(size[won] * _TENTHS - 1e-6).astype(np.int64)
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


def draw_robustness(directory: Path, manifest: Mapping[str, Any]) -> SetFigures:
    """Writes ``robustness.png`` into a set's directory; returns what it shows."""
    figures = figures_of(directory, manifest)
    figure = robustness_figure(figures, attack_title(manifest))
    with atomic_path(directory / ROBUSTNESS_FILE) as temporary:
        figure.savefig(temporary, format="png")
    return figures


def robustness_figure(figures: SetFigures, title: str) -> Figure:
    """Three panels: accuracy against size, sizes of the changes, passes a picture."""
    # Placed by hand: matplotlib's own layout draws everything twice, which costs 0.2 CPU-s.
    figure = Figure(figsize=(14, 4.3), dpi=110)
    figure.subplots_adjust(left=0.055, right=0.99, bottom=0.13, top=0.85, wspace=0.17)
    curve, sizes, cost = figure.subplots(1, 3)
    _draw_accuracy(curve, figures)
    _draw_sizes(sizes, figures)
    _draw_cost(cost, figures)
    figure.suptitle(f"{title}: {figures.rows:,} pictures", fontsize=11, fontweight="bold")
    return figure


def comparison_figure(named: Sequence[tuple[str, SetFigures]]) -> Figure:
    """The accuracies of several sets in one norm, in one panel.

    A set without a ball is a curve; one with a ball a point with its interval at ε, and its clean
    accuracy.
    """
    figure = Figure(figsize=(7.5, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    end = max(_reach(figures) for _, figures in named) * 1.05 or 1.0
    for number, (name, figures) in enumerate(named):
        colour = f"C{number % 10}"
        if figures.eps:
            _draw_point(axes, figures, colour, name)
        else:
            _draw_curve(axes, figures, colour, end, f"{name}: smallest found")
        axes.plot([0], [figures.clean_accuracy], "o", color=colour, markersize=4)
    _dress_accuracy(axes, named[0][1].norm, end)
    axes.set_title(f"{named[0][1].rows:,} pictures; at 0 the clean accuracy", fontsize=10)
    return figure


def _draw_accuracy(axes: Axes, figures: SetFigures) -> None:
    end = _reach(figures) * 1.05 or 1.0
    if figures.eps:
        at_eps = figures.eps * _TENTHS / figures.unit
        _draw_curve(axes, figures, _BROKEN, at_eps, "what was found")
        _draw_point(axes, figures, _BROKEN)
    else:
        _draw_curve(axes, figures, _BROKEN, end, "smallest found")
    axes.plot(
        [0], [figures.clean_accuracy], "o", color=_STANDING,
        label=f"{figures.clean_accuracy:.1%} clean",
    )  # fmt: skip
    axes.set_title("accuracy within a change of this size", fontsize=10)
    _dress_accuracy(axes, figures.norm, end)


def _reach(figures: SetFigures) -> float:
    """The largest size in a set: of its ball or of a change."""
    return max(figures.eps * _TENTHS / figures.unit, float(figures.accuracy_within()[0][-1]))


def _draw_curve(axes: Axes, figures: SetFigures, colour: str, end: float, label: str) -> None:
    sizes, left = figures.accuracy_within()
    axes.step([*sizes, end], [*left, left[-1]], where="post", color=colour, label=label)


def _draw_point(axes: Axes, figures: SetFigures, colour: str, name: str = "") -> None:
    left, eps = figures.accuracy_within()[1][-1], figures.eps * _TENTHS / figures.unit
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


def _dress_accuracy(axes: Axes, norm: str, end: float) -> None:
    axes.set_xlim(-0.02 * end, end)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(_NAMES[norm])
    axes.set_ylabel("right answers, at most")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8, loc="best")


def _draw_sizes(axes: Axes, figures: SetFigures) -> None:
    axes.set_title("how much the broken pictures changed", fontsize=10)
    axes.set_xlabel(_NAMES[figures.norm])
    _count_pictures(axes)
    if not figures.sizes:
        _say_none(axes, "no picture was broken")
        return
    tenths = np.array(list(figures.sizes))
    weights = np.array(list(figures.sizes.values()))
    values = tenths / figures.unit
    if figures.norm == "linf":
        width = max(1, -(-int(values.max()) // _BINS))
        edges = np.arange(0.5, values.max() + width + 0.5, width)
    else:
        edges = np.linspace(0, values.max() * (1 + 1e-9), _BINS + 1)
    axes.hist(
        values,
        bins=edges.tolist(),
        weights=weights,
        color=_BROKEN,
        edgecolor="white",
        linewidth=0.3,
    )
    median = figures.median_size
    assert median is not None
    axes.axvline(median, color="0.2", linestyle="--", label=f"median {median:.4g}")
    axes.set_xlim(left=0)
    if figures.norm == "linf":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)


def _draw_cost(axes: Axes, figures: SetFigures) -> None:
    axes.set_title("cost of a picture", fontsize=10)
    axes.set_xlabel("passes through the classifier, forward and backward")
    _count_pictures(axes)
    both = (
        ("broken", figures.passes_broken, _BROKEN),
        ("standing", figures.passes_standing, _STANDING),
    )
    highest = max((max(counts) for _, counts, _ in both if counts), default=0)
    if not highest:
        _say_none(axes, "no picture was attacked")
        return
    lowest = min(min(counts) for _, counts, _ in both if counts)
    edges = np.geomspace(max(lowest, 1) * 0.9, highest * 1.1, _COST_BINS + 1)
    for name, counts, colour in both:
        if counts:
            axes.hist(
                list(counts),
                bins=edges.tolist(),
                weights=list(counts.values()),
                color=colour,
                alpha=0.65,
                label=f"{sum(counts.values()):,} {name}, median {_median(counts):,g}",
            )
    total = sum(passes * number for _, counts, _ in both for passes, number in counts.items())
    if won := sum(figures.passes_broken.values()):
        axes.plot([], [], " ", label=f"{total / won:,.0f} passes in all for each success")
    axes.set_xscale("log")
    for which in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        which(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    axes.set_ylim(top=axes.get_ylim()[1] * 1.3)  # room for the legend
    axes.legend(fontsize=8)


def _count_pictures(axes: Axes) -> None:
    """The upward axis counts pictures: matplotlib would mark halves of a few."""
    axes.set_ylabel("pictures")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _median(counts: Mapping[int, int]) -> float:
    """The lower median of counted values."""
    values = np.array(sorted(counts))
    upto = np.cumsum([counts[int(value)] for value in values])
    return float(values[np.searchsorted(upto, (upto[-1] + 1) // 2)])


def _say_none(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="0.4")
    axes.set_xticks([])
    axes.set_yticks([])
