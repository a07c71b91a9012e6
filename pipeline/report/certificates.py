"""The report's panel on certificates: how many answers provably hold, and how far."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.formats.certificate.curve import CurvePoint
from pipeline.report.elements import png, section


@dataclass(frozen=True)
class CertificatePanel:
    """What the panel shows of a certificate set.

    Attributes:
        curve: a PNG, certified accuracy against the radius.
        sigma: of the noise, in [0, 1] pixels.
        alpha: how often a row's certificate may be wrong, at most.
        rows, abstained: pictures, and those of which nothing is said.
        draws_a_row: the mean number of noisy pictures that a row was asked about.
        points: certified accuracy at the radii that were asked for.
    """

    curve: bytes
    sigma: float
    alpha: float
    rows: int
    abstained: int
    draws_a_row: float
    points: tuple[CurvePoint, ...]

    @staticmethod
    def from_manifest(manifest: Mapping[str, Any], curve: bytes) -> "CertificatePanel":
        """Of a set's manifest and picture."""
        certificate, counts = manifest["certificate"], manifest["counts"]
        return CertificatePanel(
            curve,
            float(certificate["sigma"]),
            float(certificate["alpha"]),
            int(counts["rows"]),
            int(counts["abstained"]),
            float(manifest["draws_a_row"]),
            tuple(
                CurvePoint(**{**point, "interval_95": tuple(point["interval_95"])})
                for point in manifest["curve"]
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Everything but the picture."""
        return {key: value for key, value in asdict(self).items() if key != "curve"}


def certificate_section(panel: CertificatePanel | None) -> str:
    """The section; nothing without a panel."""
    if panel is None:
        return ""
    lines = "".join(
        f'<tr><th scope="row">{point.radius:g}</th>'
        f'<td class="number">{point.right:,} of {panel.rows:,}</td>'
        f'<td class="number">{point.accuracy:.1%}</td>'
        f'<td class="number">{point.interval_95[0]:.1%} to {point.interval_95[1]:.1%}</td></tr>'
        for point in panel.points
    )
    table = (
        '<table class="figures"><thead><tr><th>Radius</th><th>Right answers that hold</th>'
        "<th>Certified accuracy</th><th>95 % interval</th></tr></thead>"
        f"<tbody>{lines}</tbody></table>"
    )
    intro = (
        "The smoothed classifier answers what the classifier answers most often when noise is "
        f"added to the picture, of standard deviation {panel.sigma:g} where pixels go from 0 to 1. "
        "For each picture there is a radius within which no change at all makes it answer "
        f"otherwise: that is proved, and wrong for at most {panel.alpha:g} of the pictures on "
        f"average. {panel.abstained:,} of {panel.rows:,} pictures were too near a tie to say "
        f"anything. A picture took {panel.draws_a_row:,.0f} draws of noise on average. Radii are "
        "Euclidean."
    )
    content = (
        f'<figure class="plot">{png(panel.curve, "certified accuracy by radius")}</figure>{table}'
    )
    return section("certificates", "Answers that provably hold", intro, content)
