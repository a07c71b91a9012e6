"""Whether figures were made from what their run says."""

from pathlib import Path
from typing import Any

from pipeline.formats.claim import RUN_FILE
from pipeline.formats.output import read_json
from pipeline.verification.faults import Faults


def check_made_from(path: Path, file: str, stored: dict[str, Any], faults: Faults) -> None:
    """Notes a missing ``run.json``, and one of another run than made the figures.

    Args:
        path: the directory.
        file: that holds the figures, for messages.
        stored: the figures, with ``made_from``.
        faults: to be added to.
    """
    if not (path / RUN_FILE).is_file():
        faults.add("a missing file", RUN_FILE, "is missing")
    elif read_json(path / RUN_FILE)["fingerprint"] != stored["made_from"]:
        what = f"was made from something else than {RUN_FILE} says"
        faults.add("files that contradict each other", file, what)
