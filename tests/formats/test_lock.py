"""One command holds an output, and after a crash, and only then, another takes it over."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.formats import lock
from pipeline.formats.claim import claim_output
from pipeline.formats.holder import Holder
from pipeline.formats.lock import hold
from pipeline.formats.output import temporary_sibling, write_text

HOLDS = """
import sys, time
from pathlib import Path
from pipeline.formats.claim import claim_output
with claim_output(Path(sys.argv[1]), {"a": 1}) as claimed:
    (claimed.directory / "part").write_text("1")
    print("holds", flush=True)
    time.sleep(600)
"""
ROOT = Path(__file__).parents[2]


def tree(directory: Path) -> dict[str, bytes]:
    files = (file for file in directory.rglob("*") if file.is_file())
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


@contextmanager
def another_command(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the output until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        try:
            yield process
        finally:
            process.kill()


def refusal(path: Path, *, overwrite: bool = False, a: int = 1) -> str:
    with (
        pytest.raises(UserError) as caught,
        claim_output(path, {"a": a}, overwrite=overwrite),
    ):
        pytest.fail("the block must not be entered")
    return str(caught.value)


def test_a_second_command_is_told_who_and_changes_nothing_until_the_first_is_killed(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    with another_command(out) as first:
        temporary_sibling(out / "part-1").write_text("half, of the first")
        before = tree(tmp_path)
        for overwrite, a in ((False, 1), (True, 1), (False, 2), (True, 2)):
            told = refusal(out, overwrite=overwrite, a=a)
            assert f"is being written by `-c {out}` (process {first.pid} of " in told
            assert "since 20" in told
            assert f"remove {tmp_path / '.out.lock'}" in told
        assert tree(tmp_path) == before
        # Stopped, as by Ctrl-Z, it still holds.
        first.send_signal(signal.SIGSTOP)
        assert "is being written" in refusal(out)
        first.kill()
        # At once, and before anybody has waited for the process.
        while Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        with claim_output(out, {"a": 1}) as claimed:
            assert (claimed.directory / "part").read_text() == "1"
    assert sorted(tree(tmp_path)) == ["out/part", "out/run.json"]


def test_finished_results_are_read_while_nobody_may_write(tmp_path: Path) -> None:
    with claim_output(tmp_path / "out", {"a": 1}) as claimed:
        write_text(claimed.directory / "manifest.json", "{}")
    with (
        claim_output(tmp_path / "out", {"a": 2}, overwrite=True),
        claim_output(tmp_path / "out", {"a": 1}) as claimed,
    ):
        assert claimed.finished


def claims(path: Path, **change: object) -> Path:
    """A lock that another process has left or holds."""
    place = path.with_name(f".{path.name}.lock")
    place.write_text(json.dumps({**vars(Holder.this_process()), **change}))
    return place


def test_a_later_process_with_the_same_number_is_not_taken_for_the_holder(tmp_path: Path) -> None:
    claims(tmp_path / "out", started=1)
    with hold(tmp_path / "out"):
        pass
    claims(tmp_path / "out")
    with pytest.raises(UserError, match=f"process {os.getpid()} of"), hold(tmp_path / "out"):
        pytest.fail("the block must not be entered")


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.6)
    monkeypatch.setattr(lock, "_LOOK_SECONDS", 0.02)


@pytest.mark.usefixtures("short_times")
@pytest.mark.parametrize("elsewhere", [{"boot": "another"}, {"namespace": "pid:[1]"}])
def test_a_holder_elsewhere_is_watched_and_taken_over_when_it_stands_still(
    tmp_path: Path, elsewhere: dict[str, str]
) -> None:
    place = claims(tmp_path / "out", host="there", **elsewhere)
    said: list[str] = []
    with hold(tmp_path / "out", say=said.append):
        assert json.loads(place.read_text())["host"] != "there"
    assert len(said) == 1
    assert "on there)" in said[0]
    assert "unless that shows within" in said[0]
    # One that stands still for long already is not waited for.
    os.utime(claims(tmp_path / "out", host="there", **elsewhere), (1, 1))
    with hold(tmp_path / "out", say=said.append):
        pass
    assert len(said) == 1
    assert tree(tmp_path) == {}


@pytest.mark.usefixtures("short_times")
def test_a_holder_elsewhere_that_moves_is_not_taken_over(tmp_path: Path) -> None:
    place = claims(tmp_path / "out", host="there", boot="another")
    beats = threading.Timer(0.2, os.utime, [place])
    beats.start()
    with (
        pytest.raises(UserError, match=r"on there\) since"),
        hold(tmp_path / "out", say=lambda _: None),
    ):
        pytest.fail("the block must not be entered")
    assert list(tree(tmp_path)) == [".out.lock"]


@pytest.mark.usefixtures("short_times")
def test_the_holder_moves_and_stops_when_another_has_taken_over(
    tmp_path: Path,
) -> None:
    place = tmp_path / ".out.lock"

    def held_until_lost() -> None:
        with hold(tmp_path / "out"):
            first = place.stat().st_mtime_ns
            time.sleep(0.2)
            assert place.stat().st_mtime_ns > first
            place.unlink()
            claims(tmp_path / "out", host="there", boot="another")
            time.sleep(60)  # ended by the interruption

    # A run in the background of a script ignores interruptions from its start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(UserError, match="another command has taken the output over"):
            held_until_lost()
    finally:
        signal.signal(signal.SIGINT, before)
    assert json.loads(place.read_text())["host"] == "there"


@pytest.mark.usefixtures("short_times")
def test_of_many_who_find_a_dead_holder_one_has_the_output_at_a_time(tmp_path: Path) -> None:
    claims(tmp_path / "out", started=1)
    inside, together, refused = 0, [], []

    def take() -> None:
        nonlocal inside
        try:
            with hold(tmp_path / "out"):
                inside += 1
                together.append(inside)
                time.sleep(0.1)
                inside -= 1
        except UserError:
            refused.append(1)

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(together) == {1}
    assert len(together) + len(refused) == 16


@pytest.mark.usefixtures("short_times")
@pytest.mark.parametrize("content", ["", "[1]"])
def test_a_lock_that_cannot_be_read_is_one_of_somebody_who_may_live(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / ".out.lock").write_text(content)
    said: list[str] = []
    with hold(tmp_path / "out", say=said.append):
        pass
    assert "another command" in said[0]


def test_where_there_are_no_links_the_lock_is_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with hold(tmp_path / "out"), pytest.raises(UserError), hold(tmp_path / "out"):
        pytest.fail("the block must not be entered")
    assert tree(tmp_path) == {}


def test_an_output_whose_parent_is_not_ours_holds_its_lock_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)
    with claim_output(tmp_path / "out", {"a": 1}) as claimed:
        assert (tmp_path / "out" / lock.INSIDE).exists()
        assert "is being written" in refusal(tmp_path / "out")
        with monkeypatch.context() as root:
            root.setattr(os, "access", lambda *_: True)
            assert "is being written" in refusal(tmp_path / "out")
        write_text(claimed.directory / "part", "1")
    assert sorted(tree(tmp_path)) == ["out/part", "out/run.json"]
