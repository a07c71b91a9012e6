"""The table of what is refused: `python -m docs.tables.refused` runs every bad input for real."""

import contextlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from unittest import mock

from docs.tables.page import DOCS, as_markdown, replace_table
from docs.tables.refused_cases import CASES, Case
from docs.tables.refused_inputs import write_inputs
from noisestack.__main__ import main

PAGE, TABLE = "refused.md", "refused"
HEADER = ("after `noisestack`", "exit code", "what it says")


def row_of(case: Case, code: int, said: str, place: Path) -> list[str]:
    """A row of the table; the folder of the inputs is left out of what was said."""
    (line,) = [part for part in said.splitlines() if part.startswith("error: ")] or [said.strip()]
    shown = line.removeprefix("error: ").replace(f"{place}/", "").replace(str(place), ".")
    return [f"`{case.line}`", str(code), " ".join(shown.split())]


def run_here(case: Case, place: Path) -> list[str]:
    """Runs a case in this process, in the folder of the inputs; never with Ray."""
    said = io.StringIO()
    here = os.getcwd()
    os.chdir(place)
    try:
        with (
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(io.StringIO()),
            mock.patch.object(sys, "path", [str(place), *sys.path]),
            mock.patch("ray.init", side_effect=RuntimeError("it was not refused before Ray")),
        ):
            code = main(shlex.split(case.line))
    finally:
        os.chdir(here)
        shutil.rmtree(place / "out", ignore_errors=True)
    return row_of(case, code, said.getvalue(), place)


def run_for_real(case: Case, place: Path) -> list[str]:
    """Runs a case as a person does, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "noisestack", *shlex.split(case.line)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(DOCS.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(place / "out", ignore_errors=True)
    return row_of(case, done.returncode, done.stderr, place)


@contextlib.contextmanager
def inputs() -> Iterator[Path]:
    """The folder that the cases name, for as long as they run."""
    with tempfile.TemporaryDirectory() as place:
        write_inputs(Path(place))
        yield Path(place).resolve()


def rows() -> Iterator[list[str]]:
    """Every case's row, run for real."""
    with inputs() as place:
        for command, cases in groupby(CASES, lambda case: case.line.partition(" ")[0]):
            print(command, flush=True)
            yield from (run_for_real(case, place) for case in cases)


if __name__ == "__main__":
    replace_table(PAGE, TABLE, as_markdown(HEADER, rows()))
