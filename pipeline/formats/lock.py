"""A lock on an output: one command holds it, and another may take over after a crash.

The lock is a small file beside the output, created by one `link`, which is atomic on network file
systems too. Its holder touches it every 10 s. On the same machine a dead holder is recognised by
its process, elsewhere by a lock that was not touched for two minutes by the file system's clock.
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
    """The lock on an output that this process holds; see `hold`."""

    def __init__(self, place: Path, holder: Holder) -> None:
        self._place, self._holder = place, holder
        self._released, self.lost = threading.Event(), False
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises UserError if another command has taken the output over."""
        if self.lost or _token(self._place) != self._holder.token:
            self.lost = True
            raise UserError(
                f"another command has taken the output over: {self._place} is no longer this one's"
            )

    def release(self) -> None:
        """Removes the lock, so that others may hold the output."""
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

    Where nothing tells whether the holder of an existing lock still runs, the lock is watched until
    it is touched, or taken over after two minutes without a touch.

    Raises:
        UserError: another command holds it; or, at any time in the block, another command has taken
            it over because this one did not touch it.
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
    """Removes the lock of a dead holder; UserError if the holder lives.

    Two commands that find the same dead holder must not both remove the lock: the second would
    remove the first one's new lock. So each takes the kernel's lock on the dead holder's file
    first, and the second then sees that another file is in its place.
    """
    with open(place, "rb") as file:
        _wait_until_dead(path, place, own, say)
        with contextlib.suppress(OSError):  # a file system that knows no such locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(file.fileno()), os.stat(place)):
            place.unlink()


def _wait_until_dead(path: Path, place: Path, own: Path, say: Callable[[str], None]) -> None:
    """Returns when a lock's holder proves to be dead; UserError when it proves to live."""
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
    """Removes temporary files of processes that were killed while they waited for this lock."""
    now = _mtime(own)
    for other in own.parent.glob(f"{own.name.rpartition('-')[0]}-*"):
        with contextlib.suppress(FileNotFoundError):
            if now - _mtime(other) > STALE_SECONDS:
                other.unlink()


def _read(place: Path) -> tuple[Holder | None, float]:
    """The holder of a lock, None if unreadable, and when it was last touched.

    The file is opened each time, since network file systems ask the server only then.
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
    """The lock's path: beside the output, or inside where its parent is not writable or a mount."""
    if path.is_dir() and (path.is_mount() or not os.access(path.parent, os.W_OK | os.X_OK)):
        return path / INSIDE
    return _beside(path)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _interrupt() -> None:
    """Interrupts the main thread as Ctrl-C does; `hold` then gives the reason."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
