"""Lists a user's folders and files in order, following links.

Files that operating systems and archivers leave behind are ignored.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.errors import UserError

_LEFT_BY_SYSTEMS = ("thumbs.db", "desktop.ini", "__macosx")
_OURS = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@contextlib.contextmanager
def user_files() -> Iterator[None]:
    """Turns errors of the system or of Arrow about a user's files into UserErrors.

    For a block or a decorated function. Full disks and lack of memory stay as they are.
    """
    try:
        yield
    except pa.ArrowException as error:
        if isinstance(error, MemoryError):
            raise
        raise UserError(f"the input cannot be read ({error}); check or convert it") from error
    except OSError as error:
        if error.errno in _OURS:
            raise
        where = error.filename if error.filename is not None else "the input"
        reason = error.strerror or str(error) or type(error).__name__
        raise UserError(f"{os.fsdecode(where)} cannot be read ({reason}); check it") from error


def entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """The entries of a folder, by name, without hidden files and those that systems leave.

    Raises:
        UserError: the folder cannot be read.
    """
    with user_files(), os.scandir(folder) as scan:
        return sorted((entry for entry in scan if not _hidden(entry.name)), key=_name)


def bytes_of(root: Path, name: str) -> bytes | str:
    """The bytes of a file below a folder, or a line that says why it cannot be read.

    Raises:
        UserError: the folder is gone, which is no file's fault.
    """
    try:
        return (root / name).read_bytes()
    except OSError as error:
        if not root.is_dir():
            raise UserError(f"there is no folder {root} any more") from None
        return f"{root / name} cannot be read ({error.strerror}); check it"


def files_below(root: Path | str, folder: str = "") -> Iterator[str]:
    """The files in a folder of `root` and below it, in the order of their names, relative to root.

    Links to folders are followed.

    Raises:
        UserError: a link to a folder that it lies in, by whatever detour, which has no end; or a
            folder that cannot be read.
    """
    above: tuple[str, ...] = (os.path.realpath(root),)
    if folder:
        inside = os.path.join(root, folder)
        above = (*above, _real_place(inside, os.path.realpath(inside), above))
    return _walk(os.fspath(root), folder, above)


def _walk(root: str, folder: str, above: tuple[str, ...]) -> Iterator[str]:
    """The files below a folder, in the order of `entries`.

    Args:
        above: the real places of all folders on the way here, the last of them this one's.
    """
    for entry in entries(os.path.join(root, folder)):
        name = os.path.join(folder, entry.name)
        with user_files():
            is_folder, is_link = entry.is_dir(), entry.is_symlink()
        if not is_folder:
            yield name
            continue
        if is_link:
            real = _real_place(entry.path, os.path.realpath(entry.path), above)
        else:
            real = os.path.join(above[-1], entry.name)
        yield from _walk(root, name, (*above, real))


def _real_place(path: str, real: str, above: Sequence[str]) -> str:
    """`real`; UserError when it is one of the folders above, or holds one."""
    if any(place == real or place.startswith(os.path.join(real, "")) for place in above):
        raise UserError(f"{path} is a link to {real}, in which it lies itself; remove the link")
    return real


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFT_BY_SYSTEMS


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
