"""Checks a model directory against its card."""

from pathlib import Path

from pipeline.errors import UserError
from pipeline.formats.model import CARD_FILE, CONFIG_FILE, open_model
from pipeline.formats.output import read_json
from pipeline.verification.faults import Faults


def check_model(path: Path, faults: Faults, place: str = "") -> tuple[str, int]:
    """Notes the faults of a model.

    Args:
        path: its directory.
        faults: to add to.
        place: a prefix for the names of its files in faults.

    Returns:
        The model's kind, and the number of files in its card.
    """
    kind, listed = _kind_of(path), set[str]()
    try:
        listed = set(open_model(path, kind).card["files"])
    except UserError as error:
        faults.add("a model that does not hold", place + path.name, str(error))
    else:
        for file in sorted(path.glob("*.safetensors")):
            if file.name not in listed:
                faults.add("a stray file", place + file.name, f"is not listed in {CARD_FILE}")
    return kind, len(listed)


def _kind_of(path: Path) -> str:
    """The kind that a model says it is; "model" when it says nothing."""
    try:
        return str(read_json(path / CONFIG_FILE)["kind"])
    except (UserError, KeyError, TypeError):
        return "model"
