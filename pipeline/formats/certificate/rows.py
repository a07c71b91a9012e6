"""Checks of a certificate set that need neither the dataset nor the classifier.

Class, bound, radius and abstention follow from a row's own counts of votes, and the manifest's
counts and accuracies follow from all rows.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pipeline.formats.certificate.curve import (
    CurvePoint,
    certified_right,
    in_millionths,
    named_radii,
)
from pipeline.formats.certificate.set import votes_of

# Of a probability: the last bits of the beta function's inverse differ between versions of scipy.
_BOUND = 1e-9
_UNIT = 1e-6  # of a radius
COUNTED = ("rows", "right", "abstained", "at_ceiling", "draws")
_AVERAGES = ("average_certified_radius", "draws_a_row")


class Recount(Protocol):
    """A set's statistics: what counts of votes prove, and at which of them a row may stop."""

    def p_lower(self, n: np.ndarray, n_a: np.ndarray) -> np.ndarray:
        """The bound of so many votes among so many draws, int64 ``[N]`` to float64 ``[N]``."""

    def radius(self, p_lower: np.ndarray) -> np.ndarray:
        """The radii of bounds, float64 ``[N]``; 0 where a bound is at most 1/2."""

    def may_stop(self, n: np.ndarray, n_a: np.ndarray) -> np.ndarray:
        """Whether the set's rule lets a row stop with these counts, bool ``[N]``."""


def contradictions(
    table: pa.Table, split: str, certificate: Mapping[str, Any], num_classes: int, recount: Recount
) -> dict[str, np.ndarray]:
    """Which rows contradict themselves or the manifest, bool ``[N]`` for each kind of fault.

    Args:
        table: rows in the certificate set's schema, without a missing value.
        split, certificate: what the manifest says.
        num_classes: of the base classifier.
        recount: of this ``certificate``.
    """
    columns = {
        name: table.column(name).to_numpy() for name in table.column_names if name != "n0_counts"
    }
    votes, n0 = votes_of(table), int(certificate["n0"])
    n, n_a, predicted = columns["n"], columns["n_a"], columns["predicted"]
    counted = (n >= 1) & (n <= int(certificate["n"])) & (n_a >= 0) & (n_a <= n)
    p_lower, radius = np.zeros(len(n)), np.zeros(len(n))
    stops = np.zeros(len(n), bool)
    p_lower[counted] = recount.p_lower(n[counted], n_a[counted])
    radius[counted] = recount.radius(p_lower[counted])
    stops[counted] = recount.may_stop(n[counted], n_a[counted])
    stated, bound = columns["radius"], columns["p_lower"]
    faults = {
        "split is not the set's": columns["split"] != split,
        "clean_sha256 is no SHA-256": [len(value) != 64 for value in columns["clean_sha256"]],
        "sigma is not the set's": columns["sigma"] != float(certificate["sigma"]),
        "seed is not the set's": columns["seed"] != int(certificate["seed"]),
        "n0_counts do not sum to n0": (votes.sum(axis=1) != n0) | (votes < 0).any(axis=1),
        "predicted is not the class with most votes": (predicted < 0)
        | (predicted >= num_classes)
        | (votes.argmax(axis=1) != predicted),
        "draws is not n0 + n": columns["draws"] != n0 + n,
        "n or n_a is out of range": ~counted,
        "the rule does not let a row stop with these counts": counted & ~stops,
        # Written so that a NaN is a fault.
        "p_lower is not the bound of n and n_a": counted & ~(np.abs(bound - p_lower) <= _BOUND),
        "abstained does not follow from p_lower": columns["abstained"] != (bound <= 0.5),
        # One unit either way, where a bound's last bits lie at its edge.
        "radius does not follow from n and n_a": counted
        & ~(np.abs(stated - radius) <= 1.5 * _UNIT),
        "radius is not 0 where the row abstained": columns["abstained"] & (stated != 0),
    }
    return {kind: np.asarray(mask, bool) for kind, mask in faults.items()}


def tally_of(table: pa.Table, certificate: Mapping[str, Any]) -> dict[str, float]:
    """The manifest's counts over some rows, which add up.

    Returns:
        `COUNTED`; right_at_R for each of the curve's radii; and the sum of the radii of rows that
        are answered rightly, in millionths.
    """
    right = certified_right(table)
    return {
        "rows": table.num_rows,
        "right": int((right >= 0).sum()),
        "abstained": int(table.column("abstained").to_numpy().sum()),
        "at_ceiling": int((table.column("radius").to_numpy() >= certificate["ceiling"]).sum()),
        "draws": int(table.column("draws").to_numpy().sum()),
        "radius_sum": int(np.maximum(right, 0).sum()),
        **{
            _name(radius): int((right >= in_millionths(radius)).sum())
            for radius in named_radii(certificate)
        },
    }


def figures_of(tally: Mapping[str, float], certificate: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest states of all rows' tally, of at least one row.

    Returns:
        curve, as `CurvePoint`s in JSON; average_certified_radius, in which wrong rows and those
        that abstained count as 0; draws_a_row.
    """
    rows = int(tally["rows"])
    points = [
        CurvePoint.of(radius, int(tally[_name(radius)]), rows)
        for radius in named_radii(certificate)
    ]
    return {
        "curve": [point.as_json() for point in points],
        "average_certified_radius": tally["radius_sum"] * _UNIT / rows,
        "draws_a_row": tally["draws"] / rows,
    }


def wrong_figures(manifest: Mapping[str, Any], tally: Mapping[str, float]) -> list[str]:
    """One line for each of the manifest's figures that its rows contradict.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: one is missing, or is no figure.
    """
    if not tally.get("rows"):
        return []
    lines = [
        f"says counts {name} {manifest['counts'].get(name)}, and its rows give {int(tally[name])}"
        for name in COUNTED
        if manifest["counts"].get(name) != int(tally[name])
    ]
    due = figures_of(tally, manifest["certificate"])
    stated: dict[float, Any] = {}
    for point in manifest["curve"]:
        if (radius := float(point["radius"])) in stated:
            lines.append(f"has radius {radius:g} more than once in its curve")
        stated.setdefault(radius, point)
    for point in due["curve"]:
        said = stated.pop(point["radius"], None)
        same = said is not None and all(
            np.allclose(said[key], point[key], rtol=0, atol=1e-9) for key in point
        )
        if not same:
            lines.append(
                f"says of radius {point['radius']:g} {said}, and its rows give {point['right']}"
            )
    lines += [f"has a radius {radius:g} in its curve that was not asked for" for radius in stated]
    for name in _AVERAGES:
        if not abs(float(manifest[name]) - due[name]) <= 1e-9:
            lines.append(f"says {name} {manifest[name]}, and its rows give {due[name]:.9g}")
    return lines


def _name(radius: float) -> str:
    return f"right_at_{radius!r}"
