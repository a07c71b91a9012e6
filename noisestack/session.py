"""The Ray session of a job: an existing cluster, or a private Ray on loopback."""

import gc
import logging
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.node import Node
from ray._private.utils import get_num_cpus
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # compiled
from ray._raylet import Config as RayConfig  # type: ignore[attr-defined]  # a compiled module
from ray.data import DataContext

from noisestack.own_packages import come_first, hiding
from noisestack.paths import joins_cluster
from noisestack.ray_directory import ray_directory
from pipeline.errors import UserError

LEAST_CPUS = 4  # a Ray Data pipeline with an actor pool needs a spare logical CPU or two to move
_ITERATING = "iter_threaded"  # what Ray Data calls the threads that fetch and format blocks
# It sends the workers' output to the driver. Where none is wanted it is a process that takes a
# second to start and 2.5 % of a core from then on.
_NO_LOG_MONITOR: dict[str, Any] = {"start_log_monitor": lambda _: None}
# Drawn once for each process.
TOKEN = secrets.token_hex(32)


@contextmanager
def ray_session(num_cpus: int | None = None, *, log_to_driver: bool = False) -> Iterator[None]:
    """Connects to Ray for the block, and restores the state of before.

    A Ray that this process has already initialised is used as it is. Else, if RAY_ADDRESS names a
    cluster (`ray job submit` sets it), that is joined. Else a private Ray is started on this
    machine, stopped at the end, and removed from disk. It listens on loopback only, and demands its
    token.

    Args:
        num_cpus: logical CPUs of a private Ray; the machine's own, at least LEAST_CPUS, by default.
        log_to_driver: whether the workers' own output is shown on this terminal.
    """
    with _quiet():
        if ray.is_initialized():
            with _iterations_ended():
                yield
        elif joins_cluster():
            ray.init(
                log_to_driver=log_to_driver,
                logging_level=logging.WARNING,
                runtime_env=_worker_environment(),
            )
            try:
                with _iterations_ended():
                    yield
            finally:
                ray.shutdown()
        else:
            with _private_ray(num_cpus or max(LEAST_CPUS, int(get_num_cpus())), log_to_driver):
                yield


def _worker_environment() -> dict[str, Any] | None:
    """The environment in which Ray's workers import our packages, where others would hide them.

    None where none would: only then can Ray use the workers that it has started ahead.
    """
    if not hiding():
        return None
    return {"worker_process_setup_hook": f"{come_first.__module__}.{come_first.__name__}"}


@contextmanager
def _iterations_ended() -> Iterator[None]:
    """Waits at the end for the threads of Ray Data's iterators that were not read to their end.

    The threads stop when their iterator is collected, and it lies in a reference cycle. A thread
    that asks Ray for a block after Ray was shut down ends the whole process silently with exit code
    1, which one run in nine with such an iterator did.
    """
    before = set(threading.enumerate())
    try:
        yield
    finally:
        gc.collect()
        for thread in set(threading.enumerate()) - before:
            if thread.name == _ITERATING:
                thread.join(timeout=5)


@contextmanager
def _private_ray(num_cpus: int, log_to_driver: bool) -> Iterator[None]:
    # Ray would otherwise write a token into the home directory, and leave it there.
    token = {} if "RAY_AUTH_MODE" in os.environ else {"RAY_AUTH_MODE": "token"}
    if token and "RAY_AUTH_TOKEN" not in os.environ:
        token["RAY_AUTH_TOKEN"] = TOKEN
    environment = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **token}
    # A torch thread that waits must give its core away: spinning, two threads beside one other busy
    # process took 20 to 60 s for 40 training steps on two cores, asleep 9 s.
    environment["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    # It asks the cloud whether it takes this node away. Each idle process of Ray's wakes a hundred
    # times a second and costs about 1 % of a core that training wants.
    environment["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
    if not log_to_driver and "RAY_BACKEND_LOG_LEVEL" not in os.environ:
        # Errors in the log of Ray's native code appear on the terminal, such as a remark on each
        # actor pool of Ray Data. The log is removed with the session, and failures are raised.
        environment["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    with ray_directory() as directory:
        try:
            # Ray 2.60 turns `_node_ip_address="127.0.0.1"` back into the machine's own address and
            # listens on every interface. Told that there can be no second node, as it tells itself
            # on Windows and macOS, it keeps to loopback; the variable tells its worker processes.
            with (
                _environment(**environment),
                _attributes(ray_constants, ENABLE_RAY_CLUSTER=False),
                _attributes(Node, **({} if log_to_driver else _NO_LOG_MONITOR)),
            ):
                _read_environment()
                try:
                    with (
                        _stderr_without("Set ray log level from environment variable"),
                        _late_start_told(),
                    ):
                        ray.init(
                            address="local",
                            num_cpus=num_cpus,
                            include_dashboard=False,
                            log_to_driver=log_to_driver,
                            logging_level=logging.WARNING,
                            runtime_env=_worker_environment(),
                            _temp_dir=directory,
                        )
                    with _iterations_ended():
                        yield
                finally:
                    ray.shutdown()
        finally:
            _read_environment()


@contextmanager
def _late_start_told() -> Iterator[None]:
    """Ray 2.60 gives its own processes 30 s; beside much other work they may take longer."""
    try:
        yield
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        raise UserError(
            f"Ray did not start within 30 s: this machine is busy (load {os.getloadavg()[0]:.0f} "
            f"on {os.cpu_count()} CPUs); run the same command when it is less so, nothing is lost"
        ) from error


def _read_environment() -> None:
    """Has Ray read its variables and its token again, which it keeps from the first time on.

    A process may start a Ray of its own before a job and after it, whose token is another.
    """
    RayConfig.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _stderr_without(remark: str) -> Iterator[None]:
    """Holds back what is written to a file descriptor, and drops lines with a certain remark.

    All other lines are passed on when the block ends. Native code's output is held back too.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            for line in held:
                if remark.encode() not in line:
                    os.write(2, line)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Ray Data's own lines but warnings.

    The job prints progress itself, and an error shows once, as the exception. Ray's log files still
    get everything.
    """

    def is_warning(record: logging.LogRecord) -> bool:
        about_progress = record.name == "ray.data._internal.progress"
        return record.levelno == logging.WARNING and not about_progress

    terminal = [h for h in logging.getLogger("ray.data").handlers if h.name == "console"]
    for handler in terminal:
        handler.addFilter(is_warning)
    try:
        with _attributes(
            DataContext.get_current(),
            enable_progress_bars=False,
            print_on_execution_start=False,
            # Else a worker's UserError arrives as a UserCodeException that has lost its cause.
            raise_original_map_exception=True,
        ):
            yield
    finally:
        for handler in terminal:
            handler.removeFilter(is_warning)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _attributes(owner: Any, **values: Any) -> Iterator[None]:
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
