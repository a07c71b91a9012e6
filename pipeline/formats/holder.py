"""The process that holds an output: its identity, and whether it still runs."""

import getpass
import os
import secrets
import shlex
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_COMMAND_LENGTH = 160


@dataclass(frozen=True)
class Holder:
    """The process that holds an output.

    Attributes:
        boot, namespace: identify the machine's boot and its view of processes; None on systems
            other than Linux.
        started: when the process began, in the system's ticks; a later process may have the same
            number.
        token: random, drawn for each claim.
    """

    host: str
    boot: str | None
    namespace: str | None
    pid: int
    started: int | None
    user: str
    command: str
    since: str
    token: str

    @classmethod
    def this_process(cls) -> "Holder":
        """A claim of this process, now."""
        try:
            user = getpass.getuser()
        except (OSError, KeyError):
            user = f"user {os.getuid()}"
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        if len(command) > _COMMAND_LENGTH:
            command = f"{command[:_COMMAND_LENGTH]}..."
        return cls(
            host=socket.gethostname(),
            boot=_boot(),
            namespace=_namespace(),
            pid=os.getpid(),
            started=_started(os.getpid()),
            user=user,
            command=command,
            since=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            token=secrets.token_hex(16),
        )

    def lives(self) -> bool | None:
        """Whether it still runs; None where that cannot be seen from here."""
        if (self.boot, self.namespace) != (_boot(), _namespace()):
            return None
        if self.boot is not None:
            return self.started is not None and _started(self.pid) == self.started
        if self.host != socket.gethostname():
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def __str__(self) -> str:
        return f"`{self.command}` (process {self.pid} of {self.user} on {self.host})"


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """When a process began, in ticks since the machine's start; None where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
