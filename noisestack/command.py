"""Runs a command: reads its config, calls its main, and turns errors into one line each."""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from noisestack.config import Config
from noisestack.errors import is_disk_full, unwrap
from noisestack.flags import read_config
from pipeline.errors import UserError

USER_MISTAKE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@dataclass(frozen=True)
class Command(Generic[Config]):
    """What a command module offers under the name COMMAND.

    Attributes:
        config_class: the class of its config.
        main: the function that it runs with the config.
        summary: its line in `noisestack --help`, read from the module's text: a plain string.
    """

    config_class: type[Config]
    main: Callable[[Config], object]
    summary: str

    def run(self, argv: Sequence[str] | None = None, prog: str | None = None) -> int:
        """Reads the config from a command line and runs main.

        Args:
            argv: the arguments; None for ``sys.argv[1:]``.
            prog: the command's name for ``--help``; None for the program's own.

        Returns:
            The exit code: the whole number that main returns, else 0; 2 for a user's mistake, 1 for
            a full disk and 130 after Ctrl-C, each with one line on stderr. Any other exception is a
            bug and keeps its traceback.
        """
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        if self.main.__module__ == "__main__" and spec is not None:
            # `python -m jobs.NAME`: Ray would pickle what __main__ defines by value, with its
            # globals, which torch's do not allow. What an importable module defines goes by name.
            again: Command[Config] = importlib.import_module(spec.name).COMMAND
            return again.run(argv, prog)
        try:
            arguments = sys.argv[1:] if argv is None else argv
            result = self.main(read_config(self.config_class, arguments, prog or _program_name()))
        except KeyboardInterrupt:
            return _say(
                "interrupted; the same command takes up where this one stopped", INTERRUPTED
            )
        except Exception as error:
            cause = unwrap(error)
            if isinstance(cause, UserError):
                return _say(f"error: {cause}", USER_MISTAKE)
            if isinstance(cause, OSError) and is_disk_full(cause):
                where = f" for {cause.filename}" if cause.filename else ""
                what_to_do = "free some and run the same command again"
                return _say(f"error: no space is left on the disk{where}; {what_to_do}", 1)
            raise
        return result if isinstance(result, int) else 0


def interrupted() -> int:
    """Prints the line for Ctrl-C, and returns its exit code."""
    return _say("interrupted; the same command takes up where this one stopped", INTERRUPTED)


def _say(line: str, exit_code: int) -> int:
    print(line, file=sys.stderr)
    return exit_code


def _program_name() -> str:
    """`python -m jobs.ingest` if it was started so, else the program's own name."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return sys.argv[0]
    return f"python -m {spec.name.removesuffix('.__main__')}"  # a job that is a folder
