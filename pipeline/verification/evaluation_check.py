"""Checks that an evaluation's figures agree with each other and with the run that made them."""

import math
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.formats.output import read_json
from pipeline.intervals import clopper_pearson
from pipeline.verification.faults import Faults
from pipeline.verification.made_from import check_made_from

EVALUATION_FILE = "evaluation.json"


def check_evaluation(path: Path, faults: Faults) -> None:
    """Notes contradictions within ``evaluation.json`` and between it and ``run.json``.

    Nothing is computed from pictures: the same `evaluate` command in another directory does that.
    """
    try:
        stored = read_json(path / EVALUATION_FILE)
        if not isinstance(stored, dict):
            raise UserError("it is no JSON object")
        check_made_from(path, EVALUATION_FILE, stored, faults)
        _check_figures(stored, faults)
    except (UserError, AttributeError, KeyError, TypeError, ValueError) as error:
        faults.add("figures that cannot be used", EVALUATION_FILE, f"lacks or spoils {error}")


def _check_figures(stored: dict[str, Any], faults: Faults) -> None:
    def hold(what: str, stated: float | None, implied: float | None) -> None:
        same = stated is None or implied is None
        if not same:
            assert stated is not None
            assert implied is not None
            same = math.isclose(stated, implied, rel_tol=1e-6, abs_tol=1e-9)
        if not same or (stated is None) != (implied is None):
            text = f"says {what} {stated}, and its other figures make it {implied}"
            faults.add("figures that do not agree", EVALUATION_FILE, text)

    def hold_share(what: str, share: dict[str, Any], right: int, asked: int) -> None:
        hold(f"{what} rate", share["rate"], right / asked)
        for key, end in zip(("low95", "high95"), clopper_pearson(right, asked), strict=True):
            hold(f"{what} {key}", share[key], end)

    if agreement := stored["agreement"]:
        hold_share("the labels'", agreement, agreement["right"], agreement["asked"])
    for whose, found in _retrievals(stored):
        for k, share in found["recall"].items():
            hold_share(f"the {whose} R@{k}'s", share, share["num_right"], found["num_pictures"])
    if frechet := stored["frechet"]:
        distance, floor = frechet["samples_to_test"], frechet["train_to_test"]
        ratio = distance / floor if floor else None
        hold("the ratio to the floor", frechet["ratio_to_floor"], ratio)
    copies = stored["copies"]
    for part, whole in (("num_near", "num_samples"), ("num_exact", "num_near")):
        if not 0 <= copies[part] <= copies[whole]:
            text = f"says {part} {copies[part]} of {whole} {copies[whole]}"
            faults.add("figures that do not agree", EVALUATION_FILE, text)
    if bound := stored["bound"]:
        parts = ("prior_bits_per_dim", "layers_bits_per_dim", "reconstruction_bits_per_dim")
        hold("the bound", bound["bits_per_dim"], sum(bound[part] for part in parts))


def _retrievals(stored: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Whose captions were looked for, in words, and what was found."""
    retrieval = stored.get("retrieval") or {}
    named = {"samples'": retrieval.get("samples"), "real pictures'": retrieval.get("real")}
    return [(whose, found) for whose, found in named.items() if found]
