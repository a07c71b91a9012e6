"""Distances to the boundary, how straight the margin is, and margins: a colour a classifier."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pipeline.boundary.figures import lower_median
from pipeline.boundary.survey import Survey

_WAYS = (
    ("along_adversarial", "chosen by\nthe attack"),
    ("along_gradient", "down the\ngradient"),
    ("predicted", "if it were\nlinear"),
    ("along_random", "random"),
)
_BINS = 24
_BOX = 0.7  # of the room that the boxes of a direction share


def measures_figure(named: Sequence[tuple[str, Survey]], title: str) -> Figure:
    """Distances and linearity above; below them a margin histogram a classifier."""
    width = max(10.5, 2.6 * len(named))
    figure = Figure(figsize=(width, 7.6), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold").set_parse_math(False)
    above, below = figure.subfigures(2, 1, height_ratios=[1.45, 1], squeeze=False)[:, 0]
    distances, linearity = above.subplots(1, 2, width_ratios=[1.25, 1])
    _draw_distances(distances, named)
    _draw_linearity(linearity, named)
    below.suptitle(
        "lead of the right class over the next, in logits; below 0 the answer is wrong", fontsize=10
    )
    for place, axes in enumerate(below.subplots(1, len(named), squeeze=False)[0]):
        name, survey = named[place]
        _draw_margins(axes, survey, f"C{place % 10}")
        axes.set_title(name, fontsize=9.5).set_parse_math(False)
        if place == 0:
            axes.set_ylabel("pictures")
    return figure


def _draw_distances(axes: Axes, named: Sequence[tuple[str, Survey]]) -> None:
    step = _BOX / len(named)
    for place, (name, survey) in enumerate(named):
        colour, label = f"C{place % 10}", name
        for number, (way, _) in enumerate(_WAYS):
            values = getattr(survey, way)[survey.right].ravel()
            met = values[np.isfinite(values) & (values > 0)]
            if not len(met):
                continue
            at = number - _BOX / 2 + (place + 0.5) * step
            axes.boxplot(
                [met], positions=[at], usermedians=[lower_median(values) or np.nan],
                widths=[0.8 * step], whis=(5, 95), showfliers=False,
                patch_artist=True, boxprops={"facecolor": colour, "alpha": 0.5},
                medianprops={"color": "black"}, manage_ticks=False,
            )  # fmt: skip
            if missed := int(np.isinf(values).sum()):
                axes.text(
                    at, 1.01, f"{missed / len(values):.0%}", fontsize=7.5, ha="center", va="bottom",
                    color=colour, transform=axes.get_xaxis_transform(),
                )  # fmt: skip
        axes.plot([], [], "s", color=colour, alpha=0.6, label=label)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(range(len(_WAYS)), [text for _, text in _WAYS])
    axes.set_xlim(-0.5, len(_WAYS) - 0.5)
    axes.set_ylabel("distance to the boundary (L2)")
    axes.set_title(
        "how far off the boundary is, by direction\n"
        "(box: half of those met; line: median of all; % above: none met)",
        fontsize=10, pad=16,
    )  # fmt: skip
    axes.grid(visible=True, axis="y", alpha=0.25)
    for text in axes.legend(fontsize=8.5, loc="lower right").get_texts():
        text.set_parse_math(False)


def _draw_linearity(axes: Axes, named: Sequence[tuple[str, Survey]]) -> None:
    for place, (_, survey) in enumerate(named):
        colour = f"C{place % 10}"
        right = survey.right
        for values, style in (
            (survey.linear_gradient[right], "-"),
            (survey.linear_random[right].reshape(-1, len(survey.lengths)), "--"),
        ):
            if len(values) and not np.isnan(values).all():
                axes.plot(survey.lengths, np.nanmedian(values, axis=0), style, color=colour)
    axes.plot([], [], "-", color="0.3", label="down the gradient")
    axes.plot([], [], "--", color="0.3", label="random directions")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("length of the step (L2)")
    axes.set_ylabel("deviation / (slope × length), median")
    axes.set_title("how far the margin strays from a straight line\n(0: linear)", fontsize=10)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8.5)


def _draw_margins(axes: Axes, survey: Survey, colour: str) -> None:
    known = survey.margin[np.isfinite(survey.margin)]
    if not len(known):
        axes.text(0.5, 0.5, "has no logits", ha="center", va="center", transform=axes.transAxes)
        return
    axes.hist(known, bins=_BINS, color=colour, alpha=0.65, edgecolor="white", linewidth=0.4)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.axvline(0, color="0.2", linewidth=1, linestyle="--")
    axes.set_xlabel(f"median {np.median(known):.3g}", fontsize=9)
