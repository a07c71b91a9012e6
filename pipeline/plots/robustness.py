"""The plots of a perturbation set: accuracy against the size of changes, sizes, and cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.formats.output import atomic_path
from pipeline.formats.perturbation.through import is_through
from pipeline.plots.accuracy import (
    NORM_NAMES,
    TENTHS,
    SetFigures,
    draw_curve,
    draw_point,
    dress_accuracy,
    figures_of,
    median,
    reach,
)
from pipeline.plots.figures import new_figure, ticker
from pipeline.plots.titles import attack_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROBUSTNESS_FILE = "robustness.png"
_BROKEN, _STANDING = "#cf222e", "#1f6feb"
_BINS, _COST_BINS = 40, 24
ACCURACY = "accuracy"


def draw_robustness(directory: Path, manifest: Mapping[str, Any]) -> SetFigures:
    """Writes ``robustness.png`` into a set's directory; returns what it shows."""
    figures = figures_of(directory, manifest)
    what = "standing by their mean answer" if is_through(manifest) else ACCURACY
    figure = robustness_figure(figures, attack_title(manifest), what)
    with atomic_path(directory / ROBUSTNESS_FILE) as temporary:
        figure.savefig(temporary, format="png")
    return figures


def robustness_figure(figures: SetFigures, title: str, what: str = ACCURACY) -> "Figure":
    """Three panels: accuracy against size, sizes of the changes, passes a picture.

    Args:
        what: the share that the first panel shows.
    """
    # Placed by hand: matplotlib's own layout draws everything twice, which costs 0.2 CPU-s.
    figure = new_figure(figsize=(14, 4.3), dpi=110)
    figure.subplots_adjust(left=0.055, right=0.99, bottom=0.13, top=0.85, wspace=0.17)
    curve, sizes, cost = figure.subplots(1, 3)
    _draw_accuracy(curve, figures, what)
    _draw_sizes(sizes, figures)
    _draw_cost(cost, figures)
    figure.suptitle(f"{title}: {figures.rows:,} pictures", fontsize=11, fontweight="bold")
    return figure


def _draw_accuracy(axes: "Axes", figures: SetFigures, what: str) -> None:
    end = reach(figures) * 1.05 or 1.0
    if figures.eps:
        at_eps = figures.eps * TENTHS / figures.unit
        draw_curve(axes, figures, _BROKEN, at_eps, "what was found")
        draw_point(axes, figures, _BROKEN)
    else:
        draw_curve(axes, figures, _BROKEN, end, "smallest found")
    axes.plot(
        [0], [figures.clean_accuracy], "o", color=_STANDING,
        label=f"{figures.clean_accuracy:.1%} clean",
    )  # fmt: skip
    axes.set_title(f"{what} within a change of this size", fontsize=10)
    named = () if what == ACCURACY else (what,)
    dress_accuracy(axes, figures.norm, end, *named)


def _draw_sizes(axes: "Axes", figures: SetFigures) -> None:
    axes.set_title("how much the broken pictures changed", fontsize=10)
    axes.set_xlabel(NORM_NAMES[figures.norm])
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
    middle = figures.median_size
    assert middle is not None
    axes.axvline(middle, color="0.2", linestyle="--", label=f"median {middle:.4g}")
    axes.set_xlim(left=0)
    if figures.norm == "linf":
        axes.xaxis.set_major_locator(ticker().MaxNLocator(integer=True))
    axes.legend(fontsize=8)


def _draw_cost(axes: "Axes", figures: SetFigures) -> None:
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
                label=f"{sum(counts.values()):,} {name}, median {median(counts):,g}",
            )
    total = sum(passes * number for _, counts, _ in both for passes, number in counts.items())
    if won := sum(figures.passes_broken.values()):
        axes.plot([], [], " ", label=f"{total / won:,.0f} passes in all for each success")
    axes.set_xscale("log")
    for which in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        which(ticker().LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    axes.set_ylim(top=axes.get_ylim()[1] * 1.3)  # room for the legend
    axes.legend(fontsize=8)


def _count_pictures(axes: "Axes") -> None:
    """The upward axis counts pictures: matplotlib would mark halves of a few."""
    axes.set_ylabel("pictures")
    axes.yaxis.set_major_locator(ticker().MaxNLocator(integer=True))


def _say_none(axes: "Axes", text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="0.4")
    axes.set_xticks([])
    axes.set_yticks([])
