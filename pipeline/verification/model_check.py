"""Whether a model directory is what its card says."""

from pathlib import Path

from pipeline.errors import UserError
from pipeline.formats.model import CARD_FILE, CONFIG_FILE, open_model
from pipeline.formats.output import read_json
from pipeline.verification.faults import Faults


def check_model(path: Path, faults: Faults, place: str = "") -> tuple[str, int]:
    """Notes what does not hold of a model.

    Returns its kind and how many files its card lists.

    Args:
        place: what stands before the names of its files in a fault.
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
