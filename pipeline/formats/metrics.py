"""A run's figures as JSON lines: appended as it goes, readable by anyone at any time."""

import json
import os
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Appends one JSON object a line; each holds a ``step`` that rises.

    Args:
        path: the file; created with the first line.
        after_step: a resumed run repeats what came after its checkpoint, so older lines with a
            step above this are dropped.
    """

    def __init__(self, path: Path, *, after_step: int = 0) -> None:
        self.path = path
        kept = [line for line in read_metrics(path) if line["step"] <= after_step]
        if kept or path.exists():
            temporary = path.with_name(f".{path.name}.tmp-{os.getpid():08x}")
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
            os.replace(temporary, path)

    def append(self, line: dict[str, Any]) -> None:
        """Writes one line and hands it to the operating system."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of the file; an unfinished last line is left out; [] without a file."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines() if line]
