"""The picture of a perturbation set: original | perturbation, amplified | perturbed, row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.formats.perturbation.distances import linf_levels
from pipeline.formats.shard import images_of, labels_of
from pipeline.plots.figures import new_figure
from pipeline.plots.lettering import truncated

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAIN = 10
_DPI, _POINTS = 110, 9
# Inches of a picture's title, which is as wide as its tile, and of the true class's name beside it.
_TITLE, _NAME = 1.1, 0.75


@dataclass(frozen=True)
class PerturbationExamples:
    """A few rows of a perturbation set.

    Attributes:
        images, adversarial: uint8 ``[N, H, W, C]``.
        labels, clean_predictions, adversarial_predictions: int64 ``[N]``.
        classes: the name of each class.
    """

    images: np.ndarray
    adversarial: np.ndarray
    labels: np.ndarray
    clean_predictions: np.ndarray
    adversarial_predictions: np.ndarray
    classes: Sequence[str]


def choose_examples(table: pa.Table, classes: Sequence[str], num: int) -> PerturbationExamples:
    """The rows to show: the first of each class, then more in their order.

    Only rows that were right when clean are shown, whether or not the attack succeeded; others only
    where no row was right.

    Args:
        table: rows in the perturbation set's schema.
        num: rows at most.
    """
    labels = labels_of(table)
    attacked = np.flatnonzero(labels_of(table, "clean_prediction") == labels)
    if not len(attacked):
        attacked = np.arange(len(labels))
    _, first = np.unique(labels[attacked], return_index=True)
    rest = np.setdiff1d(np.arange(len(attacked)), first)
    rows = attacked[np.sort(np.concatenate((np.sort(first), rest))[:num])]
    return PerturbationExamples(
        images=images_of(table)[rows],
        adversarial=images_of(table, "adversarial")[rows],
        labels=labels[rows],
        clean_predictions=labels_of(table, "clean_prediction")[rows],
        adversarial_predictions=labels_of(table, "adversarial_prediction")[rows],
        classes=classes,
    )


def magnified_change(clean: np.ndarray, stored: np.ndarray, gain: int) -> np.ndarray:
    """The change times ``gain`` around middle grey, uint8, clipped; grey is no change."""
    return around_grey(stored.astype(np.int64) - clean.astype(np.int64), gain)


def around_grey(change: np.ndarray, gain: int) -> np.ndarray:
    """A change in levels, times ``gain`` around middle grey, uint8, clipped; grey is no change."""
    return np.clip(128 + gain * change.astype(np.int64), 0, 255).astype(np.uint8)


def largest_gain(levels: int) -> int:
    """The largest whole factor, at least 1, by which a change of so many levels is not clipped."""
    return max(1, 127 // max(1, levels))


def gain_for(clean: np.ndarray, stored: np.ndarray) -> int:
    """The largest whole factor from 1 to 10 by which no change of uint8 ``[N, ...]`` is clipped."""
    largest = int(linf_levels(clean, stored).max(initial=1))
    return min(_GAIN, largest_gain(largest))


def perturbation_figure(examples: PerturbationExamples, title: str) -> "Figure":
    """Three columns a picture, two pictures side by side if there are more than four.

    What the classifier says stands above each picture, green where it is right.
    """
    num = len(examples.images)
    gain = gain_for(examples.images, examples.adversarial)
    headings = ("original", f"perturbation × {gain}", "perturbed")
    abreast = 2 if num > 4 else 1
    num_rows = -(-num // abreast)
    figure = new_figure(
        figsize=(4.6 * abreast, 0.8 + 1.7 * num_rows), dpi=_DPI, layout="constrained"
    )
    blocks = figure.subfigures(1, abreast, squeeze=False)[0]
    for number, block in enumerate(blocks):
        axes = block.subplots(num_rows, 3, squeeze=False)
        for axis, heading in zip(axes[0], headings, strict=True):
            axis.annotate(heading, (0.5, 1.24), xycoords="axes fraction", ha="center", fontsize=10)
        for row in range(num_rows):
            i = number * num_rows + row
            if i < num:
                _draw_example(axes[row], examples, i, gain)
            else:
                for axis in axes[row]:
                    axis.set_axis_off()
    figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _draw_example(
    axes: Sequence["Axes"], examples: PerturbationExamples, i: int, gain: int
) -> None:
    clean, stored = examples.images[i], examples.adversarial[i]
    truth = int(examples.labels[i])
    show_pixels(axes[0], clean)
    show_pixels(axes[1], magnified_change(clean, stored, gain))
    show_pixels(axes[2], stored)
    for axis, prediction in (
        (axes[0], int(examples.clean_predictions[i])),
        (axes[2], int(examples.adversarial_predictions[i])),
    ):
        colour = "#1a7f37" if prediction == truth else "#cf222e"
        title = axis.set_title(
            _title_text(f"says {examples.classes[prediction]}", _TITLE),
            fontsize=_POINTS,
            color=colour,
        )
        title.set_parse_math(False)  # a dollar sign in a name is one
    largest = int(linf_levels(clean[None], stored[None])[0])
    axes[1].set_title(f"largest change {largest}/255", fontsize=8, color="0.35")
    name = axes[0].set_ylabel(
        _title_text(examples.classes[truth], _NAME),
        rotation=0,
        ha="right",
        va="center",
        fontsize=_POINTS,
    )
    name.set_parse_math(False)


def _title_text(text: str, inches: float) -> str:
    """The text on one line, cut so that the layout need not make the tiles smaller for it."""
    return truncated(" ".join(text.split()), round(_POINTS * _DPI / 72), round(inches * _DPI))


def show_pixels(axis: "Axes", picture: np.ndarray) -> None:
    """A picture, uint8 ``[H, W, C]``, with its pixels as squares and no scales."""
    axis.imshow(
        picture[:, :, 0] if picture.shape[-1] == 1 else picture,
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="nearest",
    )
    axis.set_xticks([])
    axis.set_yticks([])
