"""What a certificate set's own rows say against it."""

from collections.abc import Mapping
from typing import Any

from pipeline.perturbation_terms import TrustWarning

ROW_CODES = ("abstained", "chance", "ceiling")
"""The codes of `row_warnings`."""
_HALF = 0.5


def row_warnings(
    counts: Mapping[str, int], certificate: Mapping[str, Any], num_classes: int
) -> list[TrustWarning]:
    """The warnings that follow from counts over all rows.

    Args:
        counts: rows, right, abstained and at_ceiling, as `formats.certificate.rows.tally_of` has
            them.
        certificate: of the manifest.
    """
    rows, warnings = counts["rows"], []
    if (count := counts["abstained"]) > _HALF * rows:
        text = (
            f"{count:,} of {rows:,} rows abstained, as with most classifiers that were not trained "
            f"on noise of sigma {certificate['sigma']:g}: train on it, denoise first, or take a "
            "smaller sigma"
        )
        warnings.append(TrustWarning("abstained", count, rows, text))
    if (count := counts["right"]) * num_classes <= rows:
        text = (
            f"{count:,} of {rows:,} rows are certified with the right class, no more than guesses "
            f"among {num_classes} classes would be right"
        )
        warnings.append(TrustWarning("chance", count, rows, text))
    if certificate["rule"] != "radii" and (count := counts["at_ceiling"]) > _HALF * rows:
        text = (
            f"{count:,} of {rows:,} rows have the largest radius that {certificate['n']:,} draws "
            f"can show, {certificate['ceiling']:g}: their true one may be larger; raise n to see"
        )
        warnings.append(TrustWarning("ceiling", count, rows, text))
    return warnings
