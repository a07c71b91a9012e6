"""What a benchmark of ways is told on its command line, and what it tells of each way."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.ways.base import Lesson, Painter, Setting, Way


def way_options(description: str | None, ways: Mapping[str, Way]) -> argparse.ArgumentParser:
    """The options that every such benchmark has; a parser to which it adds its own."""

    def names(text: str) -> tuple[str, ...]:
        given = tuple(text.split(","))
        if unknown := [name for name in given if name not in ways]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(ways)}")
        return given

    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--cpu-minutes", type=float, default=45.0, help="of training, each way")
    parser.add_argument("--ways", type=names, default=tuple(ways), help="with commas between")
    parser.add_argument("--text-encoder", default="minilm", help="a name or a directory")
    parser.add_argument("--sheets", type=Path, help="a directory for 64 pictures of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="see that it works, measure nothing")
    parser.add_argument("--repeats", type=int, help="not heeded: nothing is timed side by side")
    return parser


def taught(
    name: str, way: Way, lesson: Lesson, setting: Setting, given: argparse.Namespace
) -> tuple[Painter, dict[str, Any]]:
    """What a way has become in its time, and what that took, by the names of figures."""
    print(f"{name}:", flush=True)
    painter = way.learn(lesson, setting, 60 * given.cpu_minutes, given.seed)
    steps = {f"{name}_{part}_steps": steps for part, steps in painter.steps.items()}
    return painter, {f"{name}_train_cpu_seconds": round(painter.cpu_seconds, 1), **steps}
