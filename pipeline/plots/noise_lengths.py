"""The noise is not random: accuracy against length, for random and for chosen noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.boundary.noise_length import NoiseLengths
from pipeline.intervals import clopper_pearson
from pipeline.plots.perturbations import show_pixels

_RANDOM, _CHOSEN = "#1f6feb", "#cf222e"
_CURVE, _TILE = 3.3, 1.75  # inches
_DENSE = 200


@dataclass(frozen=True)
class NoisyPicture:
    """A picture with noise, and what is answered.

    Attributes:
        image: uint8 ``[H, W, C]``.
        heading: which noise.
        says: the class answered.
        right: whether it is the right one.
    """

    image: np.ndarray
    heading: str
    says: str
    right: bool


def noise_figure(
    named: Sequence[tuple[str, NoiseLengths]], examples: Sequence[NoisyPicture], title: str
) -> Figure:
    """A panel a classifier, and above them one picture without, with random, with chosen noise."""
    width = max(len(named) * _CURVE + 0.4, len(examples) * (_TILE + 0.6) + 0.4, 6.0)
    figure = Figure(figsize=(width, _TILE + 0.95 + 3.4), dpi=110, layout="constrained")
    heights = [_TILE + 0.95, 3.4]
    above, below = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    above.suptitle(title, fontsize=13, fontweight="bold").set_parse_math(False)
    tiles = above.subplots(1, len(examples), squeeze=False)[0]
    for axis, example in zip(tiles, examples, strict=True):
        show_pixels(axis, example.image)
        axis.set_title(example.heading, fontsize=9.5).set_parse_math(False)
        colour = "#1a7f37" if example.right else _CHOSEN
        axis.set_xlabel(f"says {example.says}", fontsize=10, color=colour).set_parse_math(False)
    panels = below.subplots(1, len(named), squeeze=False, sharey=True)[0]
    for place, (axes, (name, noise)) in enumerate(zip(panels, named, strict=True)):
        _draw_curves(axes, noise)
        axes.set_title(name, fontsize=10).set_parse_math(False)
        if place == 0:
            axes.set_ylabel("right answers")
    handles, labels = panels[0].get_legend_handles_labels()
    below.legend(handles, labels, fontsize=9.5, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_curves(axes: Axes, noise: NoiseLengths) -> None:
    rows = len(noise.chosen_distance)
    random = noise.accuracy_random()
    dense = np.linspace(0, noise.lengths[-1], _DENSE)
    chosen = (noise.chosen_distance[:, None] > dense).mean(axis=0)
    for lengths, accuracy, colour, label in (
        (noise.lengths, random, _RANDOM, "random noise of this length"),
        (dense, chosen, _CHOSEN, "chosen noise, at most as long"),
    ):
        # Of the rows: several draws on one row are not as good as several rows.
        counts, place = np.unique(np.rint(accuracy * rows).astype(int), return_inverse=True)
        low, high = np.array([clopper_pearson(int(k), rows) for k in counts])[place].T
        axes.fill_between(lengths, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(lengths, accuracy, color=colour, linewidth=2, label=label)
    axes.set_xlim(0, noise.lengths[-1])
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("length of the noise (L2, values in [0, 1])", fontsize=9)
    axes.grid(visible=True, alpha=0.3)
