"""The plot of a certificate set: certified accuracy against the radius, with its interval."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.formats.certificate.curve import (
    UNIT,
    curve_points,
    named_radii,
    right_radii,
)
from pipeline.formats.output import atomic_path
from pipeline.formats.shard import shards_from_json
from pipeline.intervals import clopper_pearson_band
from pipeline.plots.accuracy import dress_accuracy
from pipeline.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CERTIFIED_FILE = "certified.png"
_COLOUR = "#1a7f37"
_STEPS = 500  # of a curve's interval, at most


@dataclass(frozen=True)
class CertifiedFigures:
    """What the pictures show of a certificate set.

    Attributes:
        certificate: of the manifest.
        millionths: of all rows, as `certified_right` gives them.
    """

    certificate: Mapping[str, Any]
    millionths: np.ndarray

    @classmethod
    def of(cls, directory: Path, manifest: Mapping[str, Any]) -> "CertifiedFigures":
        """Of the shards in a directory; manifest: with certificate and shards."""
        shards = shards_from_json(manifest["shards"], directory)
        return cls(manifest["certificate"], right_radii(directory, shards))

    @property
    def reach(self) -> float:
        """The largest radius in the set, or that was asked for."""
        held = float(self.millionths.max(initial=0)) / UNIT
        return max([held, *map(float, self.certificate["radii"])])

    def accuracy_within(self) -> tuple[np.ndarray, np.ndarray]:
        """The certified accuracy up to each radius at which it falls, from 0 on.

        A lower bound of the smoothed classifier's accuracy under any change of that length.
        """
        radii = np.sort(self.millionths[self.millionths >= 0]) / UNIT
        rows = len(self.millionths)
        left = len(radii) - np.arange(len(radii) + 1)
        return np.concatenate(([0.0], radii)), left / rows


def draw_certified(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Writes ``certified.png`` into a set's directory."""
    figure = certified_figure(CertifiedFigures.of(directory, manifest), base_title(manifest))
    with atomic_path(directory / CERTIFIED_FILE) as temporary:
        figure.savefig(temporary, format="png")


def certified_figure(figures: CertifiedFigures, title: str) -> "Figure":
    """One panel: certified accuracy against the radius."""
    figure = new_figure(figsize=(7.5, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    end = figures.reach * 1.05 or 1.0
    draw_certified_curve(axes, figures, _COLOUR, "certified, with its 95 % interval")
    dress_accuracy(axes, "l2", end, "right answers, at least")
    axes.set_title(f"{title}: {len(figures.millionths):,} pictures", fontsize=10)
    return figure


def draw_certified_curve(axes: "Axes", figures: CertifiedFigures, colour: str, label: str) -> None:
    """The curve, its interval, and points at the radii that the manifest names."""
    radii, accuracy = figures.accuracy_within()
    axes.step(radii, accuracy, where="post", color=colour, label=label, linewidth=1.2)
    some = np.unique(np.linspace(0, len(radii) - 1, _STEPS).astype(int))
    num = len(figures.millionths)
    some = np.append(some, len(radii) - 1)  # what is left after the last fall, as far as was asked
    low, high = clopper_pearson_band(np.rint(accuracy[some] * num).astype(int), num)
    edges = np.append(radii[some[:-1]], figures.reach)
    axes.fill_between(edges, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
    named = curve_points(figures.millionths, named_radii(figures.certificate))
    shown = [point for point in named if point.radius <= figures.reach]
    axes.plot([p.radius for p in shown], [p.accuracy for p in shown], ".", color=colour)


def base_title(manifest: Mapping[str, Any]) -> str:
    """What was smoothed and with which noise, such as ``classifier, σ = 0.5``."""
    certificate = manifest["certificate"]
    lattice = ", lattice noise" if certificate["noise"] == "lattice" else ""
    return f"{manifest['base']['base']}, σ = {float(certificate['sigma']):g}{lattice}"
