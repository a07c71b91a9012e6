"""Writing so that a reader never meets half a file, and claiming a directory for one config.

Every file is written under a temporary name beside its place, flushed to the disk, and moved
into place by one rename. What is interrupted (Ctrl-C, a full disk, a killed process) leaves the
old file as it was; the temporary file is removed, or, after a hard kill, swept by the next run.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

RUN_FILE = "run.json"
_RUN_FORMAT = 1
_TEMPORARY = re.compile(r"\..+\.tmp-[0-9a-f]{8}")
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Output:
    """A directory that this run may write into.

    directory: where to write now (with --overwrite a sibling of `path`, swapped in at the end).
    path: where the results will stand once `claim_output` has been left.
    finished: the completion marker is there, made by the same config: nothing is left to do.
    """

    directory: Path
    path: Path
    finished: bool


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yields a temporary name beside `path`, moved to `path` when the block ends without error.

    On any exception, a full disk and Ctrl-C among them, the temporary file is removed and what
    stood at `path` stays as it was. Missing parent directories are created.
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
    """Writes `data` to `path` by way of a temporary file beside it."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Writes `text` as UTF-8 to `path` by way of a temporary file beside it."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Writes `value` as indented JSON, keys in the order given. NaN and infinity are refused.

    The text goes to the disk as it is made: whole, that of a manifest of 61,036 shards took 55 MB.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")


def read_json(path: Path | str) -> Any:
    """The value in a JSON file.

    Raises UserError when the file is missing, unreadable or not JSON.
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

    The text is hashed as it is made: that of a manifest of 61,036 shards took 27 MB.
    """
    digest = hashlib.sha256()
    for piece in _CANONICAL.iterencode(value):
        digest.update(piece.encode("utf-8"))
    return digest.hexdigest()


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
    """Puts the directory `new` in the place of `path`, and removes what stood there.

    Two renames: between them, for an instant, nothing stands at `path`. A process killed in that
    instant leaves the old results in `.NAME.replaced`, which `restore_directory` puts back.
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
    """Puts back what a swap, killed between its two renames, had moved aside."""
    if _replaced(path).is_dir() and not path.exists():
        os.rename(_replaced(path), path)


@contextlib.contextmanager
def claim_output(
    path: Path | str,
    fingerprint: dict[str, Any],
    *,
    overwrite: bool = False,
    marker: str = "manifest.json",
) -> Iterator[Output]:
    """Claims the directory `path` for the run that `fingerprint` describes.

    fingerprint: what decides the results (JSON-able; paths and tuples are allowed). Leave out what
    does not, such as the number of workers, so that a run may be resumed with other values.
    marker: the file that the job writes last of all.

    A new or empty directory gets a `run.json` that holds the fingerprint. A directory with the
    same fingerprint is handed out again, to be resumed (or `finished`). Anything else in it is
    refused with a UserError, unless `overwrite`: then the work happens in `NAME.incoming` beside
    it and is swapped in when the block ends without error; otherwise the old results stay as they
    were, and the same command resumes the work in `NAME.incoming`. A directory without `run.json`
    was made by someone else and is never replaced.

    A run that fails before it wrote any result leaves no directory behind.
    """
    path = Path(os.path.abspath(path))
    ours = json.loads(_CANONICAL.encode(fingerprint))
    restore_directory(path)
    incoming = path.with_name(f"{path.name}.incoming")
    directory = path
    if _holds_results(path):
        theirs = _fingerprint_in(path)
        if theirs is None:
            raise UserError(
                f"{path} holds files that no run of this command made; choose another directory"
            )
        same = theirs == ours
        if not same and not overwrite:
            raise UserError(
                f"{path} holds the results of another config ({_difference(theirs, ours)}); "
                "choose another directory, or give --overwrite to replace them"
            )
        if overwrite and (not same or (path / marker).exists()):
            directory = incoming
            if _holds_results(directory):
                started = _fingerprint_in(directory)
                if started is None:
                    raise UserError(
                        f"{directory} is needed as a working place, and holds other files; "
                        "move it away"
                    )
                if started != ours:
                    shutil.rmtree(directory)
    existed = directory.is_dir()
    try:
        _start_run(directory, ours)
        yield Output(directory, path, finished=(directory / marker).exists())
    except BaseException:
        if directory.is_dir() and not _holds_results(directory):
            (directory / RUN_FILE).unlink(missing_ok=True)
            if not existed:
                shutil.rmtree(directory, ignore_errors=True)
        raise
    if directory != path:
        swap_directory(directory, path)


def _start_run(directory: Path, fingerprint: dict[str, Any]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        sweep_temporary(directory)
        if _fingerprint_in(directory) != fingerprint:
            write_json(directory / RUN_FILE, {"format": _RUN_FORMAT, "fingerprint": fingerprint})
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f"{directory} cannot be written ({error.strerror}); choose another directory"
        ) from None


def _holds_results(directory: Path) -> bool:
    """Whether anything but run.json, temporary files and empty folders is in `directory`."""
    return any(
        file != directory / RUN_FILE and not any(map(_TEMPORARY.fullmatch, _parts(file, directory)))
        for file in directory.rglob("*")
        if not file.is_dir()
    )


def _parts(file: Path, directory: Path) -> tuple[str, ...]:
    return file.relative_to(directory).parts


def _fingerprint_in(directory: Path) -> Any:
    """The fingerprint in a directory's run.json, None when it has none that we wrote."""
    try:
        run = read_json(directory / RUN_FILE)
    except UserError:
        return None
    if not isinstance(run, dict) or run.get("format") != _RUN_FORMAT:
        return None
    return run.get("fingerprint")


def _difference(theirs: Any, ours: Any) -> str:
    """The first key, in the order of names, whose values differ, with both values."""
    left, right = dict(_flat(theirs)), dict(_flat(ours))
    for key in sorted({*left, *right}):
        if left.get(key, "absent") != right.get(key, "absent"):
            return f"{key} is {left.get(key, 'absent')} there and {right.get(key, 'absent')} here"
    return "written in another form"


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        text = json.dumps(value, ensure_ascii=False)
        yield prefix, text if len(text) <= 60 else f"{text[:57]}..."


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
