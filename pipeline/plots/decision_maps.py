"""Decision maps side by side: planes through a picture below one another, classifiers abreast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Circle, Patch

from pipeline.boundary.decision_map import DecisionMap
from pipeline.plots.perturbations import show_pixels

_COLOURS = (
    "#a6cee3", "#fdbf6f", "#b2df8a", "#fb9a99", "#cab2d6", "#ffff99", "#8dd3c7", "#d9a679",
    "#f4cae4", "#cccccc", "#6f9bc8", "#e08d3c", "#6fae5c", "#d65f5f", "#9678b6", "#c9b83c",
    "#4aa391", "#9c6b3f", "#d17fb5", "#8c8c8c",
)  # fmt: skip
_OTHER, _INK = "#eeeeee", "#1b1b22"
_MAP, _PICTURE, _HEAD, _FOOT = 3.0, 1.35, 0.45, 0.75  # inches


@dataclass(frozen=True)
class Mark:
    """A further picture of a plane: where it lies, and the sign it gets."""

    across: float
    up: float
    sign: str = "X"


@dataclass(frozen=True)
class MapPanel:
    """One map.

    Attributes:
        name: of the classifier.
        drawn: the map.
        note: a line about it, such as how near the boundary is.
        distance: to the boundary, L2: a circle around the picture; None for none.
        marks: further pictures of the plane.
    """

    name: str
    drawn: DecisionMap
    note: str = ""
    distance: float | None = None
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class PlaneRow:
    """The maps of one plane, or of one plane a classifier.

    Attributes:
        heading: which plane it is.
        across, up: what the axes are.
        pictures: uint8 ``[H, W, C]`` and what is said of each, shown at the left; two at most.
        panels: one a classifier.
    """

    heading: str
    across: str
    up: str
    pictures: tuple[tuple[np.ndarray, str], ...]
    panels: tuple[MapPanel, ...]


def maps_figure(rows: Sequence[PlaneRow], classes: Sequence[str], title: str) -> Figure:
    """Maps of all classifiers in all planes; one colour a class in all of them."""
    columns = max(len(row.panels) for row in rows)
    by_area = _classes_by_area(rows)
    shown = sorted(by_area[: len(_COLOURS)])
    colours = dict(zip(shown, _COLOURS, strict=False))
    heights = [_HEAD, *(_MAP + 0.75 for _ in rows), _FOOT]
    width = max(_PICTURE + columns * (_MAP + 0.2), 6.4)
    figure = Figure(figsize=(width, sum(heights)), dpi=110, layout="constrained")
    head, *blocks, foot = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[
        :, 0
    ]
    head.suptitle(title, fontsize=13, fontweight="bold").set_parse_math(False)
    for block, row in zip(blocks, rows, strict=True):
        _draw_row(block, row, columns, colours)
    names = [Patch(facecolor=c, edgecolor="0.4", label=classes[k]) for k, c in colours.items()]
    if len(by_area) > len(colours):
        names.append(Patch(facecolor=_OTHER, edgecolor="0.4", label="another class"))
    legend = foot.legend(
        handles=names, loc="center", ncols=min(len(names), 3 * columns), fontsize=9.5,
        title="colour: the class that is answered there", title_fontsize=9.5, frameon=False,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _classes_by_area(rows: Sequence[PlaneRow]) -> list[int]:
    """The classes that some map shows, the largest area first."""
    shown = [panel.drawn.classes.ravel() for row in rows for panel in row.panels]
    labels, counts = np.unique(np.concatenate(shown), return_counts=True)
    return [int(label) for label in labels[np.argsort(-counts, kind="stable")]]


def _draw_row(block: SubFigure, row: PlaneRow, columns: int, colours: Mapping[int, str]) -> None:
    block.suptitle(row.heading, fontsize=10.5, x=0.01, ha="left").set_parse_math(False)
    grid = block.add_gridspec(2, 1 + columns, width_ratios=[_PICTURE, *[_MAP] * columns])
    for place, (picture, text) in enumerate(row.pictures[:2]):
        axis = block.add_subplot(grid[place, 0])
        show_pixels(axis, picture)
        axis.set_title(text, fontsize=8.5).set_parse_math(False)
    for place, panel in enumerate(row.panels, 1):
        axes = block.add_subplot(grid[:, place])
        _draw_map(axes, panel, colours)
        axes.set_xlabel(row.across, fontsize=8.5)
        if place == 1:
            axes.set_ylabel(row.up, fontsize=8.5)


def _draw_map(axes: Axes, panel: MapPanel, colours: Mapping[int, str]) -> None:
    drawn = panel.drawn
    labels = list(colours)
    places = np.full(int(drawn.classes.max()) + 1, len(labels))
    for place, label in enumerate(labels):
        if label < len(places):
            places[label] = place
    half = [(values[1] - values[0]) / 2 for values in (drawn.across, drawn.up)]
    axes.imshow(
        places[drawn.classes],
        origin="lower",
        extent=(
            drawn.across[0] - half[0], drawn.across[-1] + half[0],
            drawn.up[0] - half[1], drawn.up[-1] + half[1],
        ),
        cmap=ListedColormap([*colours.values(), _OTHER]),
        vmin=-0.5,
        vmax=len(labels) + 0.5,
        interpolation="nearest",
    )  # fmt: skip
    if panel.distance is not None:
        circle = Circle((0, 0), panel.distance, fill=False, color=_INK, linestyle="--", lw=1.2)
        axes.add_patch(circle)
    axes.plot([0], [0], "o", color="white", markeredgecolor=_INK, markersize=8, markeredgewidth=1.5)
    for mark in panel.marks:
        axes.plot(
            [mark.across], [mark.up], mark.sign, color="white", markeredgecolor=_INK,
            markersize=8, markeredgewidth=1.2,
        )  # fmt: skip
    axes.set_xlim(drawn.across[0], drawn.across[-1])
    axes.set_ylim(drawn.up[0], drawn.up[-1])
    axes.set_aspect("equal")
    axes.tick_params(labelsize=8)
    title = panel.name if not panel.note else f"{panel.name}\n{panel.note}"
    axes.set_title(title, fontsize=9.5).set_parse_math(False)
