"""Batch commands on small inputs, to be killed: what was finished then, and what came of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import ray
from digit_models import digit_network
from digit_set import CLASSES, write_digits
from in_this_process import in_this_process
from small_stack import small_stack
from training_runs import ROOT, kill, processes_titled, wait_until

from jobs import certify, generate, ingest, perturb
from jobs.common.records import ATTEMPTED, RECORDS
from noisestack.flags import flag_of
from pipeline.classifier import save_classifier
from pipeline.formats.output import sha256_of_file
from pipeline.stack import save_stack

JOBS = ("generate", "generate in stages", "perturb", "certify", "ingest")
FINISHED_FIRST = 3  # records that are there before anything is killed
ACTOR = "ray::MapWorker(Map(ShardRunner))"
_LOOKS = 2000  # with 2 ms between them: no job here takes so long
_MODULES = {"generate": generate, "perturb": perturb, "certify": certify, "ingest": ingest}

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

    def run_whole(self) -> Path:
        """Makes the set without Ray, which nothing can interrupt, and moves it aside."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_MODULES[self.module], "run_shards", in_this_process)
            patch.setattr(_MODULES[self.module], "ray_session", nullcontext)
            assert self.run() == 0
        return self.output.rename(self.output.with_name("whole"))

    @contextmanager
    def started(self) -> Iterator[psutil.Popen]:
        """`python -m jobs.NAME` in a process of its own, on this process' Ray; ended at the end."""
        process = psutil.Popen(
            [sys.executable, "-m", f"jobs.{self.module}", *self.arguments()],
            cwd=ROOT,
            env={**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address},
            stdin=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            kill(process)
            process.wait()

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
    if job in ("perturb", "certify"):
        write_digits(path / "digits", num_train=10, num_test=360)
        save_classifier(path / "classifier", digit_network(), CLASSES, {})
        flags |= {"dataset": path / "digits", "classifier": path / "classifier"}
        if job == "certify":
            flags |= {"sigma": 0.25, "radii": "0.1", "n0": 20, "n": 300}
        return Batch(job, {**flags, "rows_per_shard": 10}, path / "set", 360)
    flags |= {"source": "digits", "resize": 32, "rows_per_shard": 10}
    return Batch("ingest", flags, path / "set", 1797)


def kill_an_actor_in_a_shard(batch: Batch) -> Held:
    """Kills one of the actors below this process while it works on a shard.

    All actors are held still first: so it is known that it has begun a shard and not ended it, and
    what was finished then, which is returned.
    """
    wait_until(lambda: len(batch.records()) >= FINISHED_FIRST, "the first shards")
    wait_until(lambda: any(map(_in_a_call, actors())), "an actor at work")
    for _ in range(_LOOKS):
        held_still = actors()
        try:
            for actor in held_still:
                actor.send_signal(signal.SIGSTOP)
            busy = [actor for actor in held_still if _in_a_call(actor)]
            if busy and len(batch.attempts()) == len(busy):
                held = batch.finished()
                busy[0].kill()
                return held
        finally:
            for actor in held_still:
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
    check_held(batch, held)


def check_held(batch: Batch, held: Held) -> None:
    """These files, of which there are some, were not written again."""
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


def actors() -> list[psutil.Process]:
    """The actors of batch jobs on this process' Ray."""
    return processes_titled(psutil.Process().children(recursive=True), ACTOR)


def _in_a_call(actor: psutil.Process) -> bool:
    """Whether an actor is at a shard, or between two pieces of one."""
    try:
        return " ".join(actor.cmdline()).strip().endswith(".submit")
    except psutil.Error:
        return False


def _ids(file: Path) -> list[str]:
    return list(pq.read_table(file, columns=["id"]).column("id").to_pylist())
