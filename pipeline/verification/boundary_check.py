"""Checks that a boundary's arrays are those it was written with, and that its figures follow."""

import math
from pathlib import Path
from typing import Any

from pipeline.boundary.figures import figures_of
from pipeline.boundary.survey import Survey
from pipeline.errors import UserError
from pipeline.formats.boundary import BOUNDARY_FILE, read_arrays
from pipeline.formats.output import read_json, sha256_of_file
from pipeline.verification.faults import Faults
from pipeline.verification.made_from import check_made_from


def check_boundary(path: Path, faults: Faults) -> int:
    """Notes files that differ from their hashes, and figures that the arrays do not give.

    Returns:
        How many files were looked at.
    """
    try:
        stored = read_json(path / BOUNDARY_FILE)
        if not isinstance(stored, dict):
            raise UserError("it is no JSON object")
        files = _check_files(path, stored, faults)
        _check_figures(path, stored, faults)
    except (AttributeError, KeyError, TypeError, UserError, ValueError) as error:
        faults.add("figures that cannot be used", BOUNDARY_FILE, f"lacks or spoils {error}")
        return 1
    return files + 1


def _check_files(path: Path, stored: dict[str, Any], faults: Faults) -> int:
    check_made_from(path, BOUNDARY_FILE, stored, faults)
    for file, sha256 in stored["files"].items():
        if not (path / file).is_file():
            faults.add("a missing file", file, "is missing")
        elif sha256_of_file(path / file) != sha256:
            faults.add("a changed file", file, f"is another than {BOUNDARY_FILE} says")
    return len(stored["files"])


def _check_figures(path: Path, stored: dict[str, Any], faults: Faults) -> None:
    for classifier in stored["classifiers"]:
        file = path / classifier["survey"]
        if not file.is_file():
            continue
        implied = figures_of(Survey.of(read_arrays(file)))
        for name, value in implied.items():
            if not _same(classifier["figures"][name], value):
                what = f"says another {name} of {classifier['name']} than {file.name} gives"
                faults.add("figures that do not agree", BOUNDARY_FILE, what)


def _same(stated: Any, implied: Any) -> bool:
    """Whether two JSON values are the same up to rounding."""
    if isinstance(implied, dict):
        return stated.keys() == implied.keys() and all(
            _same(stated[k], implied[k]) for k in implied
        )
    if isinstance(implied, list):
        return len(stated) == len(implied) and all(map(_same, stated, implied))
    if stated is None or implied is None:
        return stated is implied
    return math.isclose(stated, implied, rel_tol=1e-6, abs_tol=1e-9)
