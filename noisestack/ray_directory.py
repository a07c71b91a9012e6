"""The directory of a private Ray.

Its process holds a lock on it. Whoever starts a Ray removes the directories that are not locked.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "noisestack_"  # not the noisestack- of versions that held no lock
# A Unix socket's path has at most 107 bytes. Ray appends up to 67, such as
# /session_2026-11-23_23-14-31_204741_4194304/sockets/plasma_store, to its temporary directory.
LONGEST = 107 - 67
_WAITS = 50  # of a tenth of a second, while Ray's last processes still write
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def ray_directory() -> Iterator[str]:
    """A new directory for a private Ray, removed at the end.

    The lock is the kernel's, on the directory itself. It ends with the process, however that ends,
    and Ray's own processes do not inherit it. So a directory that a killed command left behind is
    recognised by its free lock; such directories are removed first.
    """
    parent = Path(tempfile.gettempdir())
    if len(f"{parent}/{PREFIX}xxxxxxxx") > LONGEST:
        parent = Path("/tmp")
    remove_left_behind(parent)
    path, held = _new(parent)
    try:
        yield str(path)
    finally:
        _remove(path, _WAITS)
        os.close(held)


def remove_left_behind(parent: Path) -> None:
    """Removes the directories that dead processes of this user left in a temporary directory."""
    for path in parent.glob(f"{PREFIX}*"):
        # Not there any more, no directory, or another user's.
        with suppress(OSError):
            descriptor = os.open(path, _OPEN)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(path)
            finally:
                os.close(descriptor)


def _new(parent: Path) -> tuple[Path, int]:
    """A new directory, and a descriptor of it that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with suppress(FileNotFoundError):
            held = os.open(path, _OPEN)
            # Where the file system knows no locks nobody takes it for left behind either.
            with suppress(OSError):
                fcntl.flock(held, fcntl.LOCK_EX)
            if path.exists():
                return path, held
            os.close(held)
        # Somebody who looked for what is left behind met it before it was locked, and was first.


def _remove(path: Path, waits: int = 0) -> None:
    shutil.rmtree(path, ignore_errors=True)
    while waits and path.exists():
        time.sleep(0.1)
        shutil.rmtree(path, ignore_errors=True)
        waits -= 1
