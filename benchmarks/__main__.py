"""Every benchmark in turn, each in a process of its own, and one table of their ratios.

    python -m benchmarks [--quick] [--repeats N] [NAME ...]

Each JSON object is kept in runs/bench/NAME.json, its whole output in runs/bench/NAME.log. A
benchmark that fails is named in the table and the others go on; the exit code is then 1.
"""

import argparse
import json
import pkgutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmarks
from pipeline.formats.output import write_json

OUTPUT = Path("runs/bench")
_SHARED = {"__main__", "budget", "classifiers", "common", "datasets"}
_OF_A_GPU = {"gpu_check"}  # compares nothing: `make gpu-check`


def names() -> list[str]:
    """The names of all benchmarks: the package's modules without shared code and the GPU check."""
    modules = pkgutil.iter_modules(benchmarks.__path__)
    found = {module.name for module in modules if not module.ispkg}
    return sorted(found - _SHARED - _OF_A_GPU)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmarks and prints the table; 1 when one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(names())}")
    parser.add_argument("--quick", action="store_true", help="see that they work, measure nothing")
    parser.add_argument("--repeats", type=int, help="of each side; 5 by default")
    given = parser.parse_args(argv)
    if unknown := set(given.names) - set(names()):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    options = ["--quick"] * given.quick
    options += ["--repeats", str(given.repeats)] if given.repeats else []
    results: dict[str, dict[str, Any] | None] = {}
    for name in given.names or names():
        print(f"{name} ...", flush=True)
        start = time.monotonic()
        results[name] = run(name, options, OUTPUT)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    print("\n".join(["", *table(results), "", f"all figures: {OUTPUT}/NAME.json"]))
    return 1 if None in results.values() else 0


def run(name: str, options: Sequence[str], output: Path) -> dict[str, Any] | None:
    """Runs one benchmark and keeps what it prints; None, with its last lines, when it failed.

    An older result is removed first: a table never shows figures of another run.
    """
    output.mkdir(parents=True, exist_ok=True)
    kept, log = output / f"{name}.json", output / f"{name}.log"
    kept.unlink(missing_ok=True)
    with log.open("w") as stream:
        code = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *options],
            stdout=stream,
            stderr=subprocess.STDOUT,
        ).returncode
    lines = log.read_text().splitlines()
    found = last_object(lines)
    if code or found is None:
        print("\n".join([*lines[-15:], f"{name} failed with exit code {code}: {log}"]))
        return None
    write_json(kept, found)
    return found


def last_object(lines: Sequence[str]) -> dict[str, Any] | None:
    """The JSON object in the last line; None when it is something else."""
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def table(results: dict[str, dict[str, Any] | None]) -> list[str]:
    """A line for each ratio, target and limit: its figure, what it must be, and whether it is."""
    rows = [("benchmark", "figure", "measured", "target", "")]
    for name, result in results.items():
        if result is None:
            rows.append((name, "failed", "", "", "NO FIGURES"))
            continue
        targets, limits = result.get("targets", {}), result.get("limits", {})
        for key, value in result.items():
            if key in limits:
                met, wanted = value <= limits[key], f"at most {limits[key]:g}"
            elif key in targets:
                met, wanted = value >= targets[key], f"at least {targets[key]:g}"
            elif key.startswith("ratio_"):
                met, wanted = None, ""
            else:
                continue
            said = {True: "met", False: "MISSED", None: ""}[met]
            rows.append((name, key, f"{value:.4g}", wanted, said))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


if __name__ == "__main__":
    raise SystemExit(main())
