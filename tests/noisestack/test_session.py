"""The one Ray session of the test run, and one in a process of its own that comes and goes."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import ray
import ray.data
from example import ExampleConfig

from noisestack.command import Command
from noisestack.ray_directory import PREFIX
from noisestack.session import ray_session
from pipeline.errors import UserError

pytestmark = pytest.mark.ray

# Ray twice in one process, started far from the repository: prints what it saw as JSON.
COMES_AND_GOES = """
import json, os, sys
import ray
import psutil  # Ray brings it along
from noisestack.session import ray_session

def threads():
    import pipeline  # the workers find the project
    return int(os.environ["OMP_NUM_THREADS"])  # what torch goes by

def listening_addresses():
    this = psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                yield connection.laddr.ip.removeprefix("::ffff:")

def started_here():
    for process in psutil.process_iter(["cmdline"]):
        if any(os.environ["TMPDIR"] in word for word in process.info["cmdline"] or []):
            yield process.pid

def log_monitors():
    commands = (" ".join(process.cmdline()) for process in psutil.Process().children())
    return sum("log_monitor.py" in command for command in commands)

seen = {"threads": [], "addresses": [], "left": [], "log monitors": []}
for _ in range(2):
    with ray_session(num_cpus=4):
        remote = ray.remote(threads)
        seen["threads"].append(ray.get([remote.options(num_cpus=n).remote() for n in (1, 2)]))
        seen["addresses"] += set(listening_addresses())
        seen["log monitors"].append(log_monitors())
    seen["left"] += [name for name in os.environ if "RAY_AUTH" in name or "RAY_ENABLE" in name]
    seen["left"] += [*started_here(), *os.listdir(os.environ["TMPDIR"]), *os.listdir()]
print(json.dumps(seen))
"""


def test_a_private_session_keeps_to_loopback_and_leaves_nothing_behind():
    # Not pytest's own folder: a socket's name would not fit behind it.
    with tempfile.TemporaryDirectory(prefix="ns", dir="/tmp") as directory:
        (temporary := Path(directory, "tmp")).mkdir()
        (home := Path(directory, "home")).mkdir()
        # Of a process that was killed.
        (temporary / f"{PREFIX}stale" / "session").mkdir(parents=True)
        done = subprocess.run(
            [sys.executable, "-c", COMES_AND_GOES],
            cwd=home,
            env={"HOME": str(home), "PATH": os.defpath, "TMPDIR": str(temporary)},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    assert seen["threads"] == [[1, 2], [1, 2]]  # a torch thread for each CPU that was asked for
    assert set(seen["addresses"]) == {"127.0.0.1"}
    assert seen["log monitors"] == [0, 0]  # no output is asked for
    assert seen["left"] == []


# A Ray of the user's own before and after one of ours, in one process: each has a token of its own.
BETWEEN_TWO = """
import ray
from noisestack.session import ray_session

def started():
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    assert ray.get(ray.put(7)) == 7
    ray.shutdown()

started()
with ray_session(num_cpus=1):
    assert ray.get(ray.put(8)) == 8
started()
"""


def test_a_process_may_start_a_ray_of_its_own_before_a_private_session_and_after_it():
    with tempfile.TemporaryDirectory(prefix="ns", dir="/tmp") as directory:
        (temporary := Path(directory, "tmp")).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", BETWEEN_TWO],
            env={"HOME": directory, "PATH": os.defpath, "TMPDIR": str(temporary)}
            | {"RAY_TMPDIR": str(temporary)},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr


def test_an_initialised_ray_is_used_and_left_running(ray_cluster):
    before = ray.get_runtime_context().gcs_address
    with ray_session():
        assert ray.get_runtime_context().gcs_address == before
    assert ray.is_initialized()


def test_no_thread_of_an_iteration_that_was_left_half_way_outlives_the_session(ray_cluster):
    def fetching() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "iter_threaded"]

    with ray_session():
        for _ in ray.data.range(4000, override_num_blocks=40).iter_batches(batch_size=10):
            assert fetching()  # else Ray gave them another name, and nobody waits for them
            break
    assert not fetching()


def test_ray_data_leaves_the_terminal_to_the_job(ray_cluster, capfd):
    class Double:
        def __call__(self, row):
            return {"id": row["id"] * 2}

    with ray_session():
        pool = ray.data.ActorPoolStrategy(size=1)
        rows = ray.data.range(20).map(Double, compute=pool).take_all()
    assert sum(row["id"] for row in rows) == 380
    assert capfd.readouterr() == ("", "")


def test_a_mistake_that_a_ray_data_worker_finds_is_told_in_one_line(ray_cluster, capfd):
    def find_mistake(row):
        raise UserError(f"row {row['id']} has no picture; leave it out")

    def main(config):
        with ray_session():
            ray.data.range(1).map(find_mistake).materialize()

    assert Command(ExampleConfig, main, "an example").run(["--output", "o"]) == 2
    assert capfd.readouterr() == ("", "error: row 0 has no picture; leave it out\n")


def test_a_mistake_that_a_ray_task_finds_is_told_in_one_line(ray_cluster, capfd):
    @ray.remote
    def find_mistake():
        raise UserError("no model at m; train one")

    def main(config):
        ray.get(find_mistake.remote())

    assert Command(ExampleConfig, main, "an example").run(["--output", "o"]) == 2
    assert capfd.readouterr() == ("", "error: no model at m; train one\n")
