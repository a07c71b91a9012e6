"""`noisestack COMMAND …`: finds the command's module and runs it.

Modules are imported only when their command is called: `noisestack --help` needs no torch.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from noisestack import __version__
from noisestack.command import USER_MISTAKE, Command, interrupted
from noisestack.commands import find_commands
from noisestack.mistakes import nearest
from noisestack.own_packages import NAMES, imported_from

COMMANDS = find_commands()


def help_text() -> str:
    """What `noisestack --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: noisestack COMMAND [--config FILE.yaml] [--key VALUE …]",
            "",
            "Random noise into labelled pictures, and chosen noise that fools classifiers.",
            "",
            "commands:",
            *lines,
            "",
            "`noisestack COMMAND --help` says what each key means, its unit and its default.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if name == "--version":
        print(f"noisestack {__version__}")
        return 0
    if name not in COMMANDS:
        guess = nearest(name, list(COMMANDS))
        print(f"error: unknown command {name!r}; the nearest is {guess!r}", file=sys.stderr)
        return USER_MISTAKE
    try:
        command: Command[Any] = import_module(COMMANDS[name][0]).COMMAND
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in NAMES:
            raise
        print(
            f"error: Python takes {imported_from(package)} for Noisestack's own package {package}, "
            "which was imported before; rename it, or take its folder off PYTHONPATH",
            file=sys.stderr,
        )
        return USER_MISTAKE
    except KeyboardInterrupt:  # importing torch and Ray takes seconds
        return interrupted()
    return command.run(arguments, prog=f"noisestack {name}")


if __name__ == "__main__":
    raise SystemExit(main())
