"""A Ray cluster of several nodes on this machine, in a process of its own; nodes come and go.

As a script it is that process: it answers each line on its standard input with a line of JSON, and
takes the cluster down when there are no more.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray  # makes the psutil that it brings along importable
from ray.cluster_utils import Cluster

# isort: split
import psutil
from training_runs import (
    TRAINING_WORKER,
    kill,
    own_environment,
    processes_titled,
    runs,
    wait_until,
)

# A node is dead after three looks at it, half a second apart; Ray's own figures take some 30 s.
NOTICE_SOON = {
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


class RayNodes:
    """A head without CPUs, and nodes; leaving it ends them all.

    Attributes:
        environment: all of a command's environment that joins as a driver, the token among it.
    """

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="ns", dir="/tmp")
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        scratch = own_environment(Path(self._scratch.name))
        self.environment = {**scratch, **token, **NOTICE_SOON}
        self._up: list[int] = []
        # Ray 2.60's Cluster needs this folder, and does not make it.
        Path("/tmp/ray").mkdir(exist_ok=True)
        self._process = psutil.Popen(
            [sys.executable, __file__],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.environment["RAY_ADDRESS"] = str(self._answer()["address"])

    def __enter__(self) -> "RayNodes":
        return self

    def __exit__(self, *_: object) -> None:
        tree = self._process.children(recursive=True)
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except psutil.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in tree:
            kill(process)
        self._process.stdout.close()
        wait_until(lambda: not any(map(runs, tree)), "the end of the nodes", 30)
        self._scratch.cleanup()

    def two(self) -> list[int]:
        """The ids of the processes of two raylets that are up, with three CPUs each."""
        while len(self._up) < 2:
            self._up.append(int(self._ask(add=3)["raylet"]))
        return list(self._up)

    def remove(self, raylet: int) -> None:
        """Ends a node as a power cut does."""
        self._up.remove(raylet)
        self._ask(remove=raylet)

    def training(self, raylet: int) -> int:
        """How many training workers run on a node."""
        return len(processes_titled(psutil.Process(raylet).children(), TRAINING_WORKER))

    def _ask(self, **question: int) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        for line in self._process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        raise AssertionError("the nodes' process has ended")


def serve_nodes() -> None:
    """The process itself."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    print(json.dumps({"address": cluster.address}), flush=True)
    nodes: dict[int, ray._private.node.Node] = {}
    for line in sys.stdin:
        question = json.loads(line)
        if "add" in question:
            node = cluster.add_node(num_cpus=question["add"])
            raylet = node.all_processes["raylet"][0].process.pid
            nodes[raylet] = node
            print(json.dumps({"raylet": raylet}), flush=True)
        else:
            cluster.remove_node(nodes.pop(question["remove"]), allow_graceful=False)
            print("{}", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    os.environ.pop("RAY_ADDRESS", None)
    serve_nodes()
