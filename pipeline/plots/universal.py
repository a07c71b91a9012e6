"""The picture of a universal set's one perturbation, amplified around grey."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.formats.output import atomic_path
from pipeline.formats.perturbation.universal import read_delta
from pipeline.perturbation_terms import UNIVERSAL
from pipeline.plots.figures import new_figure
from pipeline.plots.perturbations import around_grey, largest_gain, show_pixels
from pipeline.plots.titles import target_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNIVERSAL_PICTURE_FILE = "universal.png"


def universal_figure(delta: np.ndarray, title: str) -> "Figure":
    """The perturbation, int16 ``[H, W, C]``, by the largest factor that clips nothing."""
    gain = largest_gain(int(np.abs(delta).max()))
    figure = new_figure(figsize=(4.6, 5.0), dpi=110, layout="constrained")
    axis = figure.subplots()
    show_pixels(axis, around_grey(delta, gain))
    axis.set_xlabel(f"perturbation × {gain}; grey is no change", fontsize=9)
    axis.set_title(title, fontsize=10, fontweight="bold")
    return figure


def draw_delta(directory: Path, manifest: dict[str, Any]) -> None:
    """Writes `UNIVERSAL_PICTURE_FILE` beside a set with one perturbation; nothing beside others."""
    attack = manifest["attack"]
    if attack["attack"] != UNIVERSAL:
        return
    delta = read_delta(directory, attack, tuple(manifest["dataset"]["shape"]))
    rate = manifest["universal"]["fooling_rate"]
    fooled = "" if rate is None else f": fools {rate:.1%}"
    towards = target_title(manifest)
    figure = universal_figure(
        delta,
        f"one perturbation, {attack['norm']}, eps {attack['eps']}/255"
        f"{', ' if towards else ''}{towards}{fooled}",
    )
    with atomic_path(directory / UNIVERSAL_PICTURE_FILE) as temporary:
        figure.savefig(temporary, format="png")
