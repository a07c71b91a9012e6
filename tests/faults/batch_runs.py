"""Batch commands on small inputs, to be killed: what was finished then, and what came of it."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from digit_models import digit_network
from digit_set import CLASSES, write_digits
from small_stack import small_stack
from training_runs import ROOT, kill, own_environment, processes_titled, wait_until

from jobs import generate, ingest, perturb
from jobs.common.records import ATTEMPTED, RECORDS
from noisestack.flags import flag_of
from pipeline.classifier import save_classifier
from pipeline.formats.output import sha256_of_file
from pipeline.stack import save_stack

JOBS = ("generate", "generate in stages", "perturb", "ingest")
FINISHED_FIRST = 3  # records that are there before anything is killed
ACTOR = "ray::MapWorker(Map(ShardRunner))"
_LOOKS = 2000  # with 2 ms between them: no job here takes so long
_MODULES = {"generate": generate, "perturb": perturb, "ingest": ingest}

Held = dict[str, tuple[int, int]]  # of each file: its inode and its time of change


@dataclass(frozen=True)
class Batch:
    """A batch job as its command line spells it; 36 shards or more of some tens of milliseconds.

    Attributes:
        module: its name below `jobs`.
        flags: all but the output.
        output: where every run of it writes; the manifest of a perturbation set names the place.
        num_rows: what the finished set has.
    """

    module: str
    flags: Mapping[str, Any]
    output: Path
    num_rows: int

    def arguments(self, **changes: Any) -> list[str]:
        values = {**self.flags, "output": self.output, **changes}
        return [word for key, value in values.items() for word in (flag_of(key), str(value))]

    def run(self, **changes: Any) -> int:
        """Runs the command in this process, on the Ray that is there; returns its exit code."""
        command: Any = _MODULES[self.module].COMMAND
        return int(command.run(self.arguments(**changes), prog=self.module))

    @contextmanager
    def started(self, environment: Mapping[str, str] | None = None) -> Iterator[psutil.Popen]:
        """`python -m jobs.NAME` in a process of its own; what it started is ended with it."""
        # Not pytest's own folder: the name of a socket of its Ray would not fit behind it.
        scratch = Path(tempfile.mkdtemp(prefix="ns", dir="/tmp"))
        process = psutil.Popen(
            [sys.executable, "-m", f"jobs.{self.module}", *self.arguments()],
            cwd=ROOT,
            env={**own_environment(scratch), **(environment or {})},
            stdin=subprocess.DEVNULL,
        )
        try:
            with family(process):
                yield process
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def finished(self) -> Held:
        """The files of the shards that are finished, record and all."""
        files = {path.stem: [] for path in self.records()}
        for path in self.output.rglob("part-*.parquet"):
            if path.stem in files:
                files[path.stem].append(path)
        return {
            str(path.relative_to(self.output)): (path.stat().st_ino, path.stat().st_mtime_ns)
            for paths in files.values()
            for path in paths
        }

    def records(self) -> list[Path]:
        return list((self.output / RECORDS).glob("*/*.json"))

    def attempts(self) -> list[Path]:
        """The counters of the shards that workers are at."""
        return list((self.output / RECORDS).glob(f"*/*{ATTEMPTED}"))


def make_batch(job: str, path: Path) -> Batch:
    """One of `JOBS`, with its inputs, in a folder."""
    flags: dict[str, Any] = {"num_workers": 2, "seed": 3}
    if job.startswith("generate"):
        save_stack(small_stack(), {}, path / "model", {})
        flags |= {"model": path / "model", "count": 200, "rows_per_shard": 5, "layers": "9,12"}
        flags |= {"pools": "stages" if job.endswith("stages") else "whole"}
        return Batch("generate", flags, path / "set", 200)
    if job == "perturb":
        write_digits(path / "digits", num_train=10, num_test=360)
        save_classifier(path / "classifier", digit_network(), CLASSES, {})
        flags |= {"dataset": path / "digits", "classifier": path / "classifier"}
        return Batch("perturb", {**flags, "rows_per_shard": 10}, path / "set", 360)
    flags |= {"source": "digits", "resize": 32, "rows_per_shard": 10}
    return Batch("ingest", flags, path / "set", 1797)


def kill_an_actor_in_a_shard(batch: Batch) -> Held:
    """Kills one of the actors below this process while it works on a shard.

    All actors are held still first: so it is known that it has begun a shard and not ended it, and
    what was finished then, which is returned.
    """
    wait_until(lambda: len(batch.records()) >= FINISHED_FIRST, "the first shards")
    for _ in range(_LOOKS):
        actors = processes_titled(psutil.Process().children(recursive=True), ACTOR)
        try:
            for actor in actors:
                actor.send_signal(signal.SIGSTOP)
            busy = [actor for actor in actors if _title(actor).endswith(".submit")]
            if busy and len(batch.attempts()) == len(busy):
                held = batch.finished()
                busy[0].kill()
                return held
        finally:
            for actor in actors:
                if actor.is_running():
                    actor.send_signal(signal.SIGCONT)
        time.sleep(0.002)
    raise AssertionError("no actor was met in a shard")


def check_whole(batch: Batch, whole: Path, held: Held) -> None:
    """The finished set is the one that nobody interrupted; what is `held` was not made again."""
    ours, theirs = hashes(batch.output), hashes(whole)
    assert {file for file in ours.keys() | theirs if ours.get(file) != theirs.get(file)} == set()
    ids = [row for file in batch.output.rglob("*.parquet") for row in _ids(file)]
    assert len(ids) == len(set(ids)) == batch.num_rows
    assert held
    now = {file: (batch.output / file).stat() for file in held}
    assert {file: (stat.st_ino, stat.st_mtime_ns) for file, stat in now.items()} == held


def hashes(directory: Path) -> dict[str, str]:
    """The hash of every file in a directory, manifest, figures and all."""
    return {
        str(file.relative_to(directory)): sha256_of_file(file)
        for file in directory.rglob("*")
        if file.is_file()
    }


@contextmanager
def family(process: psutil.Popen) -> Iterator[None]:
    """Ends a process and all that it ever started, once the block is left."""
    seen: set[psutil.Process] = set()
    try:
        yield
    finally:
        if process.poll() is None:
            seen |= set(process.children(recursive=True))
            process.kill()
        process.wait()
        for child in seen:
            kill(child)


def kill_the_driver(process: psutil.Popen) -> None:
    """Kills a command as `kill -9` does, and the orphans that it leaves."""
    orphans = process.children(recursive=True)
    process.kill()
    process.wait()
    for orphan in orphans:
        kill(orphan)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def _ids(file: Path) -> list[str]:
    return list(pq.read_table(file, columns=["id"]).column("id").to_pylist())
