"""Ray Train as both training jobs use it: restarts, progress in the driver, errors as people's."""

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train.torch import TorchTrainer

from noisestack.resources import Demand, Waiting, require
from pipeline.allocator import KEEP_FREED_MEMORY
from pipeline.errors import UserError
from pipeline.formats.metrics import METRICS_FILE, read_metrics
from pipeline.training.checkpoint import CHECKPOINTS, damaged_checkpoints


@dataclass(frozen=True)
class Workers:
    """Where training runs.

    Attributes:
        num_workers: training processes; 0 trains in the driver's own process. A pair is the fewest
            and the most: as many as the cluster holds, more or fewer when nodes come and go.
        use_gpu: a GPU each.
        cpus_per_worker: CPUs each, and so torch threads.
        max_failures: how often lost workers are replaced before the run fails.
    """

    num_workers: int | tuple[int, int] = 1
    use_gpu: bool = False
    cpus_per_worker: int = 1
    max_failures: int = 3

    @property
    def demand(self) -> Demand:
        """The least that the workers take of the cluster.

        Where the job has no workers of its own, it is what publishing the model takes.
        """
        num = self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]
        return Demand(max(1, num), self.cpus_per_worker, int(self.use_gpu))


def run_training(
    loop: Callable[[dict[str, Any]], None],
    loop_config: dict[str, Any],
    *,
    output: Path,
    workers: Workers,
    progress: Callable[[dict[str, Any]], str],
) -> None:
    """Runs ``loop(loop_config)`` on every worker until it ends.

    Args:
        output: the run's directory, on storage that all workers share; ``metrics.jsonl`` in it is
            followed, and each new line printed.
        progress: turns a line of metrics into a line for people.

    Raises:
        UserError: what a worker raised as one, without its wrapping; or the cluster can never give
            the CPUs and GPUs that the workers need.
    """
    require(workers.demand)
    storage = output / "ray_train"
    shutil.rmtree(storage, ignore_errors=True)
    resources: dict[str, float] = {"CPU": workers.cpus_per_worker}
    if workers.use_gpu:
        resources["GPU"] = 1
    trainer = TorchTrainer(
        _guarded(loop, workers.cpus_per_worker),
        train_loop_config=loop_config,
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers.num_workers,  # type: ignore[arg-type]  # the older Train's types
            use_gpu=workers.use_gpu,
            resources_per_worker=resources,
        ),
        run_config=ray.train.RunConfig(  # type: ignore[call-arg]  # the older Train's types
            name="run",
            storage_path=str(storage),
            failure_config=ray.train.FailureConfig(max_failures=workers.max_failures),
            # Train runs the loop in a thread of its own.
            worker_runtime_env={"env_vars": KEEP_FREED_MEMORY},
        ),
    )
    with (
        Waiting("training", [workers.demand]) as waiting,
        _Follower(output, progress, waiting.over),
        _interruptible(),
    ):
        result = trainer.fit()
    shutil.rmtree(storage, ignore_errors=True)
    # What rank 0 returned: what is reported without a checkpoint never reaches result.metrics.
    # (By getattr: the types know the Result of the older Train, which has none.)
    message = getattr(result, "return_value", None)
    if isinstance(message, str):
        raise UserError(message)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Makes Ctrl-C what it is elsewhere.

    Ray Train 2.60 installs its own handler, which ends the process with exit code 0, and leaves it
    installed when training has ended.
    """
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if in_main:
            signal.signal(signal.SIGINT, before)


def _guarded(
    loop: Callable[[dict[str, Any]], None], threads: int
) -> Callable[[dict[str, Any]], Any]:
    """The loop with the torch threads it was promised, which an inherited OMP_NUM_THREADS denies.

    A user's mistake ends the run at once: it is returned, where a raise would be retried. What
    loops raise as UserError they must raise on all ranks at one step: the others would wait.
    """

    def guarded(config: dict[str, Any]) -> str | None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            loop(config)
        except UserError as error:
            return str(error)
        finally:
            torch.set_num_threads(before)
        return None

    return guarded


class _Follower:
    """Prints a line for each new line of a run's metrics, from a thread, until it is left.

    Each time it also calls ``moving``: training runs. A checkpoint that was set aside is told too.
    """

    def __init__(
        self, output: Path, progress: Callable[[dict[str, Any]], str], moving: Callable[[], None]
    ) -> None:
        self._path, self._progress, self._moving = output / METRICS_FILE, progress, moving
        self._checkpoints = output / CHECKPOINTS
        self._damaged = set(damaged_checkpoints(self._checkpoints))
        self._last = max((m["step"] for m in read_metrics(self._path)), default=0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "_Follower":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._print_new()

    def _follow(self) -> None:
        while not self._stop.wait(1.0):
            self._print_new()

    def _print_new(self) -> None:
        for path in sorted({*damaged_checkpoints(self._checkpoints)} - self._damaged):
            self._damaged.add(path)
            print(
                f"a checkpoint is damaged and was set aside as {path}; training goes on from the "
                "one before",
                flush=True,
            )
        for line in read_metrics(self._path):
            if line["step"] > self._last:
                self._last = line["step"]
                self._moving()
                print(self._progress(line), flush=True)
