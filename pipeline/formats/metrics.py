"""A run's metrics as JSON lines, appended while it runs and readable at any time."""

import json
import os
import weakref
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Appends JSON objects, one a line, each with a ``step`` that rises.

    Each log writes a file of its own and renames it into place. So of several writers only the
    newest one is read: a worker on a host that was cut off may go on without knowing that it was
    replaced.

    Args:
        path: the file; created with the first line.
        after_step: lines with a step above this are dropped, since a resumed run repeats the steps
            after its checkpoint.
    """

    def __init__(self, path: Path, *, after_step: int = 0) -> None:
        self.path, self._after_step = path, after_step
        self._file: int | None = None
        if path.exists():
            self._file = self._take_over()

    def append(self, line: dict[str, Any]) -> None:
        """Writes one line and hands it to the operating system.

        Raises:
            UserError: another log has replaced the file.
        """
        if self._file is None:
            self._file = self._take_over()
        elif not self._is_ours(self._file):
            raise UserError(
                f"{self.path} was taken over by another run of this command; let one of them end"
            )
        os.write(self._file, (json.dumps(line) + "\n").encode())

    def _take_over(self) -> int:
        """Replaces the file by one with the lines that are kept; returns its descriptor."""
        kept = [line for line in read_metrics(self.path) if line["step"] <= self._after_step]
        temporary = self.path.with_name(f".{self.path.name}.tmp-{os.getpid():08x}")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        file = os.open(temporary, os.O_WRONLY | os.O_APPEND)
        # Open until the log is dropped, so that no later file is given the same number.
        weakref.finalize(self, os.close, file)
        os.replace(temporary, self.path)
        return file

    def _is_ours(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except OSError:  # removed; on NFS ours may be gone with it
            return False


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All lines of the file but an unfinished last one; [] without a file."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines() if line]
