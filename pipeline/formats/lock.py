"""One command holds an output: who, since when, and how another takes over after a crash.

The lock is a small file beside the output, made by one `link`, which network file systems do
atomically too. Its holder shows that it lives by a new time of change every 10 s. On the same
machine a holder is known to be gone by its process; elsewhere by the lock's standing still for two
minutes, as the file system's own clock has it.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import UserError
from pipeline.formats.holder import Holder

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 120.0
INSIDE = ".noisestack.lock"  # its name in an output whose parent is not ours to write
_LOOK_SECONDS = 1.0
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Lock:
    """An output that this process holds; see `hold`."""

    def __init__(self, place: Path, holder: Holder) -> None:
        self._place, self._holder = place, holder
        self._released, self.lost = threading.Event(), False
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises UserError where somebody else holds the output by now."""
        if self.lost or _token(self._place) != self._holder.token:
            self.lost = True
            raise UserError(
                f"another command has taken the output over: {self._place} is no longer this one's"
            )

    def release(self) -> None:
        """Lets others have the output."""
        self._released.set()
        self._thread.join()
        if not self.lost and _token(self._place) == self._holder.token:
            self._place.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # a file system that is away for a while
                if _token(self._place) == self._holder.token:
                    os.utime(self._place)
                else:
                    self.lost = True
                    _interrupt()
                    return


@contextlib.contextmanager
def hold(path: Path, *, say: Callable[[str], None] | None = None) -> Iterator[Lock]:
    """Holds the output `path` for this process while the block runs.

    Where it cannot be seen whether the holder of an existing lock still runs, it is watched until
    it moves, or has stood still for two minutes and is taken over.

    Raises:
        UserError: another command holds it; or, at any time in the block, another one, which saw no
            sign of life of this one, has taken it over.
    """
    place = _place(path)
    try:
        lock = _acquire(path, place, say or _to_stderr)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EROFS):
            raise
        raise UserError(
            f"{path} cannot be written ({error.strerror}); choose another directory"
        ) from None
    try:
        yield lock
    except KeyboardInterrupt:
        if lock.lost:
            lock.check()
        raise
    finally:
        lock.release()


def _acquire(path: Path, place: Path, say: Callable[[str], None]) -> Lock:
    holder = Holder.this_process()
    place.parent.mkdir(parents=True, exist_ok=True)
    own = place.with_name(f"{place.name}.tmp-{secrets.token_hex(4)}")
    try:
        own.write_text(json.dumps(vars(holder)), encoding="utf-8")
        for other in {_beside(path), path / INSIDE} - {place}:  # of one with other rights here
            with contextlib.suppress(FileNotFoundError):
                _wait_until_dead(path, other, own, say)
        while not _put(own, place):
            with contextlib.suppress(FileNotFoundError):  # released just now
                _remove_of_the_dead(path, place, own, say)
        _sweep(own)
    finally:
        own.unlink(missing_ok=True)
    return Lock(place, holder)


def _put(own: Path, place: Path) -> bool:
    """Makes the lock, unless there is one."""
    try:
        os.link(own, place)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            with open(place, "xb") as stream:
                stream.write(own.read_bytes())
        except FileExistsError:
            return False
    return True


def _remove_of_the_dead(path: Path, place: Path, own: Path, say: Callable[[str], None]) -> None:
    """Removes a lock whose holder is gone; UserError where it is not.

    Two who find one dead holder must not both remove: the second would remove the first's new lock.
    The kernel's lock on the dead one's file lets them in one by one, and the second then finds
    another file in its place.
    """
    with open(place, "rb") as file:
        _wait_until_dead(path, place, own, say)
        with contextlib.suppress(OSError):  # a file system that knows no such locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(file.fileno()), os.stat(place)):
            place.unlink()


def _wait_until_dead(path: Path, place: Path, own: Path, say: Callable[[str], None]) -> None:
    """Returns once a lock's holder is known to be gone; UserError once it is known to live."""
    began, first = time.monotonic(), None
    while True:
        holder, moved = _read(place)
        lives = None if holder is None else holder.lives()
        if lives is False:
            return
        if lives or (first is not None and moved != first):
            raise UserError(
                f"{path} is being written by {holder or 'another command'} since "
                f"{holder.since if holder else 'an unknown time'}; wait for it, or choose another "
                f"directory; if it is gone all the same, remove {place}"
            )
        os.utime(own)  # by the file system's clock, as the holder's heartbeat
        if max(_mtime(own) - moved, time.monotonic() - began) > STALE_SECONDS:
            return
        if first is None:
            say(
                f"{path} was held by {holder or 'another command'} since "
                f"{holder.since if holder else 'an unknown time'}; it is taken over unless that "
                f"shows within {STALE_SECONDS:.0f} s that it lives"
            )
            first = moved
        time.sleep(_LOOK_SECONDS)


def _sweep(own: Path) -> None:
    """Removes what those left who were killed while they waited for this lock."""
    now = _mtime(own)
    for other in own.parent.glob(f"{own.name.rpartition('-')[0]}-*"):
        with contextlib.suppress(FileNotFoundError):
            if now - _mtime(other) > STALE_SECONDS:
                other.unlink()


def _read(place: Path) -> tuple[Holder | None, float]:
    """Who holds a lock, None where that cannot be read, and when it last moved.

    The file is opened each time: network file systems look at the server then.
    """
    with open(place, "rb") as stream:
        moved = os.fstat(stream.fileno()).st_mtime
        try:
            return Holder(**json.loads(stream.read())), moved
        except (ValueError, TypeError):  # not written to its end, or by another version
            return None, moved


def _token(place: Path) -> str | None:
    try:
        holder, _ = _read(place)
    except FileNotFoundError:
        return None
    return holder.token if holder else None


def _mtime(path: Path) -> float:
    return path.stat().st_mtime


def _place(path: Path) -> Path:
    """Beside the output; in it where it is a mount, or its parent not ours to write."""
    if path.is_dir() and (path.is_mount() or not os.access(path.parent, os.W_OK | os.X_OK)):
        return path / INSIDE
    return _beside(path)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _interrupt() -> None:
    """As Ctrl-C does; `hold` then says why."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
