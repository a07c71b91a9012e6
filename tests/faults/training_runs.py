"""Training commands in processes of their own, to be killed: their steps, their parts, their bits.

What was taken again after a fault is read off `metrics.jsonl`: each step leaves one line there, and
a restart drops the lines behind its checkpoint and writes them anew. Whoever looks at the file all
the time sees both; the two lines of one step differ in their `pictures_per_second`, which is a
time.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ray  # noqa: F401  # makes the psutil that it brings along importable
import torch

# isort: split
import psutil

from noisestack.flags import flag_of
from pipeline.formats.metrics import METRICS_FILE, read_metrics
from pipeline.stack import Stack
from pipeline.training.checkpoint import newest_checkpoint

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS, CHECKPOINT_EVERY = 120, 20
KILL_AT = 50  # half an interval after a checkpoint; a step takes 10 to 20 ms
KILL_TWICE_AT = 30, 70  # the same, in a run with two faults
TRAINING_WORKER = "ray::RayTrainWorker"
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
PATIENCE = 400.0  # seconds for what takes 15 on a machine with nothing else to do

SETTINGS: dict[str, Any] = {
    "stages": "4,8",
    "widths": "8,8",
    "blocks": "1,1",
    "embedding": 8,
    "dropout": 0.2,
    "steps": STEPS,
    "batch_size": 8,
    "warmup_steps": 2,
    "checkpoint_every": CHECKPOINT_EVERY,
    "log_every": 1,
    "grid_rows": 0,
    "layers": "1,2",
    "rows_per_call": 10,
    "data": "streaming",
}


def arguments(dataset: Path, output: Path, **changes: Any) -> list[str]:
    """The flags of `python -m jobs.train_stack` for a run of seconds on digits."""
    values = {"dataset": dataset, "output": output, **SETTINGS, **changes}
    return [word for key, value in values.items() for word in (flag_of(key), str(value))]


def wait_until(true: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Returns once it is true; fails with `what` when that takes longer than `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.03)


class StepLog:
    """Every line that `metrics.jsonl` of a run ever held, as far as somebody looked in time."""

    def __init__(self, output: Path) -> None:
        self._path = output / METRICS_FILE
        self.lines: dict[int, list[dict[str, Any]]] = {}

    def look(self) -> int:
        """Notes what is new; returns the last step that the file tells of now, 0 for none."""
        lines = read_metrics(self._path)
        for line in lines:
            known = self.lines.setdefault(line["step"], [])
            if line not in known:
                known.append(line)
        return int(lines[-1]["step"]) if lines else 0

    def repeated(self) -> list[int]:
        """The steps that were taken more than once, in order."""
        return sorted(step for step, lines in self.lines.items() if len(lines) > 1)

    def wait_for_step(self, step: int, ended: Callable[[], bool]) -> None:
        """Returns as soon as the file tells of this step; the command must not have ended."""

        def reached() -> bool:
            assert not ended(), f"ended before step {step}"
            return self.look() >= step

        wait_until(reached, f"step {step}")

    def wait_for_the_end(self, ended: Callable[[], bool]) -> None:
        """Looks until the command has ended, and once more."""

        def over() -> bool:
            done = ended()
            self.look()
            return done

        wait_until(over, "the command's end")


class TrainingRun:
    """One `python -m jobs.train_stack`, started at once; leaving it ends all that it started.

    Args:
        log: where the steps are noted; several commands on one output share one.
    """

    def __init__(self, dataset: Path, log: StepLog, output: Path, **changes: Any) -> None:
        self.log, self._tree, self._next_look_around = log, set[psutil.Process](), 0.0
        # Not pytest's own folder: a socket's name would not fit behind it.
        self._scratch = Path(tempfile.mkdtemp(prefix="ns", dir="/tmp"))
        with open(self._scratch / "printed", "wb") as printed:
            self.process = psutil.Popen(
                [
                    *(sys.executable, "-m", "jobs.train_stack"),
                    *arguments(dataset, output, **changes),
                ],
                cwd=ROOT,
                env=own_environment(self._scratch),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> "TrainingRun":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.process.poll() is None:
                self.kill()
            for process in self.alive():
                kill(process)
            wait_until(lambda: not self.alive(), "the end of all that the command started", 30)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def printed(self) -> str:
        """All that the command has said."""
        return (self._scratch / "printed").read_text(errors="replace")

    def processes(self, title: str = "") -> list[psutil.Process]:
        """The processes that the command started and that run now, those of a title or all."""
        self._look_around()
        return processes_titled(self.alive(), title)

    def alive(self) -> list[psutil.Process]:
        """Of the processes that were ever seen under the command, those that still run."""
        return [process for process in self._tree if runs(process)]

    def wait_for_step(self, step: int) -> None:
        """Returns as soon as the log tells of this step."""
        self.log.wait_for_step(step, self._ended)

    def kill(self) -> None:
        """Kills the command itself as `kill -9` does: it cannot tell its Ray about it."""
        self._look_around()
        self.process.kill()
        self.process.wait()

    def wait_for_the_orphans(self) -> None:
        """Returns when nothing runs any more but agents of Ray, which hold no part of the job.

        They ask for the head that is gone for up to a minute before they end.
        """

        def at_work() -> list[psutil.Process]:
            agents = [agent for title in AGENTS for agent in processes_titled(self._tree, title)]
            return [process for process in self.alive() if process not in agents]

        with contextlib.suppress(AssertionError):
            wait_until(lambda: not at_work(), "the end of all", 30)
        assert [(process.pid, process.name()) for process in at_work()] == []

    def _ended(self) -> bool:
        ended = self.process.poll() is not None
        if time.monotonic() > self._next_look_around:
            self._look_around()
        return ended

    def _look_around(self) -> None:
        """Notes the processes under the command: who has lost his parent is not found later."""
        if self.process.poll() is None:
            self._tree |= set(self.process.children(recursive=True))
        self._next_look_around = time.monotonic() + 0.5  # as it reads all of /proc


def own_environment(scratch: Path) -> dict[str, str]:
    """This process' environment, for a Ray of its own in a process that it starts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch), "HOME": str(scratch)}


def processes_titled(processes: Iterable[psutil.Process], title: str) -> list[psutil.Process]:
    """Those whose command line begins so; Ray gives its workers titles such as `ray::IDLE`."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(title):
                found.append(process)
    return found


def runs(process: psutil.Process) -> bool:
    """Whether a process has not ended yet."""
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def kill(process: psutil.Process) -> None:
    """Kills a process, unless it has ended by itself just now."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def check_repeated(log: StepLog, faults: int = 1, kept: int = CHECKPOINT_EVERY) -> None:
    """Every step was taken; those taken again, once more at most, all followed one checkpoint for
    each fault."""
    assert set(range(1, STEPS + 1)) - set(log.lines) == set()
    repeated = log.repeated()
    starts = [step for step in repeated if step - 1 not in repeated]
    assert len(starts) <= faults
    for start in starts:
        assert (start - 1) % kept == 0
        assert start + kept not in repeated
    assert max(map(len, log.lines.values())) <= 2


def steps_and_losses(output: Path) -> list[tuple[int, Any]]:
    """What stands in a finished run's metrics, which must be every step once, in order."""
    lines = [(line["step"], line["loss"]) for line in read_metrics(output / METRICS_FILE)]
    assert [step for step, _ in lines] == list(range(1, STEPS + 1))
    return lines


def last_state(output: Path) -> dict[str, torch.Tensor]:
    """The checkpoint of the last step."""
    step, state = newest_checkpoint(output / "checkpoints") or (0, {})
    assert step == STEPS
    return state


def check_same_end(output: Path, whole: Path) -> None:
    """As many steps, and the same bits of weights, averages, optimiser and published model."""
    losses, other_losses = steps_and_losses(output), steps_and_losses(whole)
    assert losses == other_losses
    state, other_state = last_state(output), last_state(whole)
    assert state.keys() == other_state.keys()
    differ = [name for name, value in state.items() if not torch.equal(value, other_state[name])]
    assert differ == []
    assert Stack.load(output / "model").sha256 == Stack.load(whole / "model").sha256


def check_weights_near(output: Path, whole: Path) -> None:
    """Draws and batches do not depend on who shares a batch: only sums differ, by their order.

    Most after 120 steps, 1.4e-5, is in the keys' biases, whose gradient is nothing but rounding.
    """
    state = last_state(whole)
    for name, value in last_state(output).items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=1e-4, msg=name)
