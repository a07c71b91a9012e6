"""Atomic writes: a reader never sees half a file.

Every file is written under a temporary name beside its place, flushed to the disk, and moved into
place by one rename. An interruption (Ctrl-C, a full disk, a killed process) leaves the old file as
it was. The temporary file is removed, or after a hard kill swept by the next run.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

_TEMPORARY = re.compile(r"\..+\.tmp-[0-9a-f]{8}")
_READ_BYTES = 1 << 20


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yields a temporary name beside `path`, moved to `path` when the block ends without error.

    On any exception, such as a full disk or Ctrl-C, the temporary file is removed and the old file
    at `path` stays as it was. Missing parent directories are created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_sibling(path)
    try:
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_to_disk(path.parent)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Writes `data` to `path` atomically; see `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Writes `text` as UTF-8 to `path` atomically; see `atomic_path`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Writes `value` as indented JSON, keys in the order given. NaN and infinity are refused.

    The text is written in parts: that of a manifest of 61,036 shards took 55 MB of memory.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")


def read_json(path: Path | str) -> Any:
    """The value in a JSON file.

    Raises:
        UserError: the file is missing, unreadable or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); check the path") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not valid JSON ({error.msg} in line {error.lineno}); make it anew"
        ) from None


def sha256_of_file(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; reads one mebibyte at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_json(value: Any) -> str:
    """The SHA-256 of `value` in a canonical form: sorted keys, no spaces, UTF-8.

    The text is hashed in parts: that of a manifest of 61,036 shards took 27 MB of memory.
    """
    digest = hashlib.sha256()
    for piece in _CANONICAL.iterencode(value):
        digest.update(piece.encode("utf-8"))
    return digest.hexdigest()


def as_json(value: Any) -> Any:
    """`value` as it comes back from JSON; paths and tuples are allowed in it."""
    return json.loads(_CANONICAL.encode(value))


def sweep_temporary(directory: Path | str) -> None:
    """Removes the temporary files that a killed process left in `directory` and below it.

    Only for a directory that no other process is writing into.
    """
    for file in list(Path(directory).rglob(".*.tmp-*")):
        if not is_temporary(file):
            continue
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a file's name is one that `temporary_sibling` gave."""
    return _TEMPORARY.fullmatch(path.name) is not None


def temporary_sibling(path: Path) -> Path:
    """A fresh name beside `path` that `sweep_temporary` knows as temporary."""
    return path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")


def swap_directory(new: Path, path: Path) -> None:
    """Replaces the directory `path` by the directory `new`.

    Between its two renames nothing is at `path` for an instant. A process killed then leaves the
    old results in `.NAME.replaced`, which `restore_directory` puts back.
    """
    replaced = _replaced(path)
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():
        os.rename(path, replaced)
    try:
        os.rename(new, path)
    except BaseException:
        restore_directory(path)
        raise
    _flush_to_disk(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def restore_directory(path: Path) -> None:
    """Puts back the old results after a swap that was killed between its two renames."""
    if _replaced(path).is_dir() and not path.exists():
        os.rename(_replaced(path), path)


def _plain(value: Any) -> str:
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    raise TypeError(f"{type(value).__name__} cannot stand in a fingerprint")


_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
)


def _replaced(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
