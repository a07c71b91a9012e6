"""The directory of a private Ray: there while its process is, removed by whoever comes next."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noisestack import ray_directory as module
from noisestack.ray_directory import PREFIX, ray_directory, remove_left_behind

# Says where its directory is, and holds it until it is killed.
HOLDS = """
import time
from noisestack.ray_directory import ray_directory

with ray_directory() as directory:
    print(directory, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What counts as the temporary directory; pytest's own would be too long a name."""
    with tempfile.TemporaryDirectory(prefix="ns", dir="/tmp") as directory:
        monkeypatch.setenv("TMPDIR", directory)
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield Path(directory)


def planted(parent: Path, name: str = f"{PREFIX}planted") -> Path:
    """What a Ray that was killed leaves behind."""
    (logs := parent / name / "session" / "logs").mkdir(parents=True)
    (logs / "raylet.out").write_text("an end without a word")
    return parent / name


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(parent: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        theirs = Path(holder.stdout.readline().strip())
        (theirs / "session").mkdir()
        with ray_directory() as directory:
            remove_left_behind(parent)
            assert set(parent.iterdir()) == {theirs, Path(directory)}
        assert set(parent.iterdir()) == {theirs}
    finally:
        holder.kill()
        holder.communicate()
    with ray_directory() as directory:
        assert set(parent.iterdir()) == {Path(directory)}
    assert list(parent.iterdir()) == []


@pytest.mark.parametrize("step", ["opened", "locked"])
def test_a_new_directory_that_is_met_before_it_is_locked_is_made_again(
    parent: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    owner, name = {"opened": (module.os, "open"), "locked": (module.fcntl, "flock")}[step]
    take, met = getattr(owner, name), list[Path]()

    def late(*what: Any, **how: Any) -> Any:
        if not met:
            met.extend(parent.iterdir())
            remove_left_behind(parent)
        return take(*what, **how)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, late)
        with ray_directory() as directory:
            assert len(met) == 1
            remove_left_behind(parent)
            assert list(parent.iterdir()) == [Path(directory)] != met
    assert list(parent.iterdir()) == []


def test_what_is_not_a_private_rays_or_not_this_users_stays(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = planted(parent, "elsewhere")
    ledger = planted(parent, "noisestack-ids-planted")
    (file := parent / f"{PREFIX}file").write_text("no directory")
    (link := parent / f"{PREFIX}link").symlink_to(elsewhere)
    others = planted(parent, f"{PREFIX}others")
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "geteuid", lambda: os.getuid() + 1)
        remove_left_behind(parent)
    assert set(parent.iterdir()) == {elsewhere, ledger, file, link, others}
    assert (elsewhere / "session/logs/raylet.out").exists()
    remove_left_behind(parent)
    assert set(parent.iterdir()) == {elsewhere, ledger, file, link}
    assert (elsewhere / "session/logs/raylet.out").exists()


def test_a_directory_that_may_not_be_opened_hides_none_behind_it(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, take = {planted(parent, f"{PREFIX}{n}") for n in (1, 3)}, os.open
    planted(parent, f"{PREFIX}2")

    def refused(path: Any, *what: Any, **how: Any) -> int:
        if path in closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return take(path, *what, **how)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "open", refused)
        with ray_directory() as directory:
            assert set(parent.iterdir()) == {*closed, Path(directory)}
    assert set(parent.iterdir()) == closed


def test_on_a_file_system_without_locks_nothing_is_taken_for_left_behind(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    left = planted(parent)
    monkeypatch.setattr(module.fcntl, "flock", no_locks)
    with ray_directory() as directory:
        remove_left_behind(parent)
        assert set(parent.iterdir()) == {left, Path(directory)}
    assert list(parent.iterdir()) == [left]


def test_no_directory_is_longer_than_the_names_of_rays_sockets_allow(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (long := parent / ("x" * 60)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with ray_directory() as directory:
        assert len(directory) <= module.LONGEST
        assert Path(directory).is_dir()
