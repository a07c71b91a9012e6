"""Claims an output directory for one command and one config, so that the same command resumes."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.formats.lock import INSIDE, Lock, hold
from pipeline.formats.output import (
    as_json,
    is_temporary,
    read_json,
    restore_directory,
    swap_directory,
    sweep_temporary,
    write_json,
)

RUN_FILE = "run.json"
_RUN_FORMAT = 1
_CONTINUES = "continues"  # in a run.json: the finished results there are a shorter run's


@dataclass(frozen=True)
class Output:
    """A directory that this run may write into.

    Attributes:
        directory: where to write now (with --overwrite a sibling of `path`, swapped in at the end).
        path: where the results will stand once `claim_output` has been left.
        finished: whether the same config has already finished here, so that nothing is left to do.
    """

    directory: Path
    path: Path
    finished: bool


@dataclass(frozen=True)
class Length:
    """The length of a run that can be made longer, such as its steps.

    Attributes:
        key: the fingerprint's key that holds the length, a number.
        done: returns how much of it a directory holds.
    """

    key: str
    done: Callable[[Path], int]


@contextlib.contextmanager
def claim_output(
    path: Path | str,
    fingerprint: dict[str, Any],
    *,
    overwrite: bool = False,
    marker: str = "manifest.json",
    length: Length | None = None,
) -> Iterator[Output]:
    """Claims the directory `path` for the run that `fingerprint` describes.

    A new or empty directory gets a `run.json` that holds the fingerprint. A directory with the
    same fingerprint is handed out again, to be resumed (or `finished`). Anything else in it is
    refused with a UserError, unless `overwrite`: then the work happens in `NAME.incoming` beside
    it and is swapped in when the block ends without error; otherwise the old results stay as they
    were, and the same command resumes the work in `NAME.incoming`. A directory without `run.json`
    was made by someone else and is never replaced.

    One process at a time holds a directory that is not finished, on all machines: another's claim
    is a UserError, in one line, and changes nothing (`pipeline.formats.lock`).

    A run that fails before it wrote any result leaves no directory behind.

    Args:
        fingerprint: what decides the results (JSON-able; paths and tuples are allowed). Leave out
            what does not, such as the number of workers, so that a run may be resumed with other
            values.
        marker: the file that the job writes last of all.
        length: for a run that can be made longer. Where only the length differs, the directory is
            handed out to continue, not `finished`; a length below what is done is refused.
    """
    path = Path(os.path.abspath(path))
    ours = as_json(fingerprint)
    if not overwrite and _is_finished(path, ours, marker):
        yield Output(path, path, finished=True)
        return
    with hold(path) as lock:
        yield from _claim(lock, path, ours, overwrite, marker, length)


def _claim(
    lock: Lock, path: Path, ours: Any, overwrite: bool, marker: str, length: Length | None
) -> Iterator[Output]:
    restore_directory(path)
    incoming = path.with_name(f"{path.name}.incoming")
    directory = path
    continues: Any = None
    if _holds_results(path):
        theirs = _fingerprint_in(path)
        if theirs is None:
            raise UserError(
                f"{path} holds files that no run of this command made; choose another directory"
            )
        same = theirs == ours
        if not same and not overwrite:
            continues = _continued(path, theirs, ours, length)
            if continues is None:
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
        _start_run(directory, ours, continues)
        yield Output(directory, path, finished=_is_finished(directory, ours, marker))
        lock.check()
    except BaseException:
        if directory.is_dir() and not _holds_results(directory):
            (directory / RUN_FILE).unlink(missing_ok=True)
            if not existed:
                shutil.rmtree(directory, ignore_errors=True)
        raise
    if _run_in(directory).get(_CONTINUES) is not None and (directory / marker).exists():
        _write_run(directory, ours)
    if directory != path:
        swap_directory(directory, path)


def _is_finished(directory: Path, fingerprint: Any, marker: str) -> bool:
    run = _run_in(directory)
    done = run.get("fingerprint") == fingerprint and run.get(_CONTINUES) is None
    return done and (directory / marker).exists()


def _start_run(directory: Path, fingerprint: Any, continues: Any) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        sweep_temporary(directory)
        if _fingerprint_in(directory) != fingerprint:
            _write_run(
                directory, fingerprint, **({} if continues is None else {_CONTINUES: continues})
            )
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f"{directory} cannot be written ({error.strerror}); choose another directory"
        ) from None


def _write_run(directory: Path, fingerprint: Any, continues: Any = None) -> None:
    run = {"format": _RUN_FORMAT, "fingerprint": fingerprint}
    if continues is not None:
        run[_CONTINUES] = continues
    write_json(directory / RUN_FILE, run)


def _continued(directory: Path, theirs: Any, ours: Any, length: Length | None) -> Any:
    """The length of the run that ours continues; None where they differ in more than length.

    Raises:
        UserError: more is done than ours asks for.
    """
    if length is None or not isinstance(theirs, dict) or length.key not in theirs:
        return None
    if {**theirs, length.key: ours[length.key]} != ours:
        return None
    if (done := length.done(directory)) > ours[length.key]:
        raise UserError(
            f"{directory} has {done:,} {length.key} done, and {ours[length.key]:,} are asked for: "
            "a run can be made longer, not shorter; choose another directory, or give --overwrite "
            "to replace its results"
        )
    return theirs[length.key]


def _holds_results(directory: Path) -> bool:
    """Whether anything but run.json, temporary files and empty folders is in `directory`."""
    return any(
        file not in (directory / RUN_FILE, directory / INSIDE)
        and not any(map(is_temporary, [file, *file.relative_to(directory).parents]))
        for file in directory.rglob("*")
        if not file.is_dir()
    )


def _fingerprint_in(directory: Path) -> Any:
    """The fingerprint in a directory's run.json, None when it has none that we wrote."""
    return _run_in(directory).get("fingerprint")


def _run_in(directory: Path) -> dict[str, Any]:
    try:
        run = read_json(directory / RUN_FILE)
    except UserError:
        return {}
    return run if isinstance(run, dict) and run.get("format") == _RUN_FORMAT else {}


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
