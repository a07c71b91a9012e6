"""The report's panel on the boundary: its maps, and how near it is, before and after."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from pipeline.report.elements import png, section


@dataclass(frozen=True)
class BoundaryDistances:
    """How far off a classifier's boundary is.

    Attributes:
        name: of the classifier.
        right, rows: pictures that it answers rightly, of how many.
        chosen, random: the median length, L2, of chosen noise and of noise in a random direction
            that reaches the boundary, over the pictures that are answered rightly; None where the
            median lies beyond what was looked at.
    """

    name: str
    right: int
    rows: int
    chosen: float | None
    random: float | None

    @staticmethod
    def from_manifest(manifest: Mapping[str, Any]) -> "tuple[BoundaryDistances, ...]":
        """Those of each classifier in a boundary.json."""
        return tuple(
            BoundaryDistances(
                classifier["name"],
                classifier["figures"]["right"],
                classifier["figures"]["rows"],
                classifier["figures"]["median_distance"]["along_adversarial"],
                classifier["figures"]["median_distance"]["along_random"],
            )
            for classifier in manifest["classifiers"]
        )


@dataclass(frozen=True)
class BoundaryPanel:
    """What the panel shows: two PNGs, and the distances of each classifier, the first one before.

    Attributes:
        maps: decision maps side by side.
        noise: accuracy against the length of random and of chosen noise.
        distances: see `BoundaryDistances`.
    """

    maps: bytes
    noise: bytes
    distances: tuple[BoundaryDistances, ...]


def boundary_section(panel: BoundaryPanel | None) -> str:
    """The section; nothing without a panel."""
    if panel is None:
        return ""
    lines = "".join(
        f'<tr><th scope="row">{escape(d.name)}</th>'
        f'<td class="number">{d.right:,} of {d.rows:,}</td>'
        f'<td class="number">{_length(d.chosen)}</td><td class="number">{_length(d.random)}</td>'
        "</tr>"
        for d in panel.distances
    )
    table = (
        '<table class="figures"><thead><tr><th>Classifier</th><th>Right answers</th>'
        "<th>Chosen noise that changes it</th><th>Random noise that does</th></tr></thead>"
        f"<tbody>{lines}</tbody></table>"
    )
    intro = (
        "The classifier’s answers on a plane through one picture: the circle in the middle. A "
        "colour is a class. To the right lies the smallest change that an attack has found, upward "
        "a random one; the dashed circle reaches to the nearest other answer. In the first row all "
        "classifiers are shown on the plane of the first; in the second each on its own, which is "
        "the fair one. Below: noise that is chosen needs to be far shorter than random noise to "
        "change an answer. Lengths are Euclidean, of pixels from 0 to 1."
    )
    content = (
        f'<figure class="plot">{png(panel.maps, "decision maps side by side")}</figure>'
        f'<figure class="plot">{png(panel.noise, "accuracy against the length of noise")}</figure>'
        f"{table}"
    )
    return section("boundary", "The boundary, before and after", intro, content)


def _length(median: float | None) -> str:
    return "beyond what was looked at" if median is None else f"{median:.2f} (median)"
