"""The table of docs/testing.md: how much of each folder the fast tests run, and the widest gaps.

    make coverage                                   measures, and renews the table
    python -m docs.tables.coverage COVERAGE.json [PLACE …]
                        the table alone, from coverage's JSON report; without these places, where
                        a run left out their tests

The reasons of the gaps stand in `REASONS`, by folder or file; a gap without one is shown as such.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from docs.tables.page import as_markdown, replace_table

PAGE, TABLE = "testing.md", "coverage"
WIDE = 0.8  # a file of which less is run is named
LEAST_LINES = 20  # unless it is shorter than this

_ON_RAY = "starts Ray"
REASONS = {
    "jobs": _ON_RAY,
    "noisestack/session.py": _ON_RAY,
    "noisestack/resources.py": _ON_RAY,
    "serve/app.py": _ON_RAY,
    "serve/command.py": _ON_RAY,
    "serve/local.py": _ON_RAY,
    "pipeline/formats/holder.py": "runs in processes of its own, which are not measured",
}


def reason_of(file: str) -> str:
    """Why the fast tests leave out much of a file."""
    places = [file, *map(str, PurePosixPath(file).parents)]
    return next((REASONS[place] for place in places if place in REASONS), "not said yet")


def folder_of(file: str) -> str:
    """The row that a file counts in: its folder, two names deep."""
    return "/".join(PurePosixPath(file).parent.parts[:2])


def rows_of(report: Mapping[str, Any]) -> list[list[str]]:
    """A row a folder: its statements, the share that ran, and the files with wide gaps."""
    files = {file: entry["summary"] for file, entry in report["files"].items()}
    folders: dict[str, list[str]] = defaultdict(list)
    for file, summary in files.items():
        if summary["num_statements"]:
            folders[folder_of(file)].append(file)
    rows = []
    for folder, inside in sorted(folders.items()):
        statements = sum(files[file]["num_statements"] for file in inside)
        ran = sum(files[file]["covered_lines"] for file in inside)
        gaps: dict[str, list[str]] = defaultdict(list)
        for file in sorted(inside):
            share = files[file]["covered_lines"] / files[file]["num_statements"]
            if share < WIDE and files[file]["num_statements"] >= LEAST_LINES:
                name = file.removeprefix(f"{folder}/")
                gaps[reason_of(file)].append(f"`{name}` {share:.0%}")
        cell = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in gaps.items())
        rows.append([f"`{folder}`", f"{statements:,}", f"{ran / statements:.0%}", cell])
    statements = sum(summary["num_statements"] for summary in files.values())
    ran = sum(summary["covered_lines"] for summary in files.values())
    rows.append(["all", f"{statements:,}", f"{ran / statements:.0%}", ""])
    return rows


def main(argv: list[str]) -> None:
    """Renews the table, and prints it."""
    report = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    left_out, files = tuple(argv[1:]) or "/", report["files"].items()
    report["files"] = {file: entry for file, entry in files if not file.startswith(left_out)}
    header = ["folder", "statements", "run by the fast tests", "files below 80 %, and why"]
    table = as_markdown(header, rows_of(report))
    replace_table(PAGE, TABLE, table)
    print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
