"""A process that has joined a Ray cluster and runs our commands there, one after another.

So that the seconds that torch and Ray take to be imported are spent once for all commands that are
not killed themselves. As a script it is that process: each line on its standard input is a command.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ray  # noqa: F401  # makes the psutil that it brings along importable

# isort: split
import psutil
from training_runs import ROOT, kill


class Driver:
    """The process; leaving it ends it.

    Args:
        environment: all of its environment, the address of the cluster among it.
        inside: words before the command, such as `ip netns exec NAME`.
    """

    def __init__(self, environment: Mapping[str, str], inside: Sequence[str] = ()) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="ns", dir="/tmp")
        self._num_commands = 0
        with open(self._place("printed"), "wb") as printed:
            self._process = psutil.Popen(
                [*inside, sys.executable, __file__],
                cwd=ROOT,
                env={**environment, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"},
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_: object) -> None:
        kill(self._process)
        self._process.wait()
        self._process.stdin.close()
        self._scratch.cleanup()

    @property
    def printed(self) -> str:
        """All that its commands have said."""
        return self._place("printed").read_text(errors="replace")

    def start(self, module: str, words: Sequence[str]) -> Callable[[], bool]:
        """Runs a command of a module's; returns what says whether it has ended, which must be well.

        The one before must have ended.
        """
        self._num_commands += 1
        code = self._place(f"code {self._num_commands}")
        question = {"module": module, "words": list(words), "code": str(code)}
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

        def ended() -> bool:
            assert self._process.poll() is None, self.printed
            if not code.exists():
                return False
            assert code.read_text() == "0", self.printed
            return True

        return ended

    def _place(self, name: str) -> Path:
        return Path(self._scratch.name, name)


def answer_commands() -> None:
    """The process itself."""
    from noisestack.session import ray_session

    with ray_session():
        for line in sys.stdin:
            question = json.loads(line)
            command = importlib.import_module(question["module"]).COMMAND
            code = command.run(question["words"], prog=question["module"])
            written = Path(question["code"] + ".new")
            written.write_text(str(code))
            os.rename(written, question["code"])


if __name__ == "__main__":
    answer_commands()
