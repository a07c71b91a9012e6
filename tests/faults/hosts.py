"""Hosts that are network namespaces of this machine, each with its own address and its own Ray.

The first host holds a switch, and each other host has one virtual cable to it; nothing of it
touches the machine's own network. What makes them hosts is the network alone. They share the disk,
as hosts with shared storage do, but each Ray sees a `/tmp/ray` of its own, where it keeps its
sockets. And they share what real hosts do not: processors, clock, memory (`/dev/shm` too) and the
list of processes, by which the tests kill them. Nothing here loses or delays single packets.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ray  # noqa: F401  # makes the psutil that it brings along importable

# isort: split
import psutil
from training_runs import kill, own_environment, processes_titled, runs, wait_until

_SWITCH, _PORT = "switch", 6380


class Host:
    """A namespace whose address, beside loopback, is to be 10.77.0.`number`."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.address = name, f"10.77.0.{number}"
        ip("netns", "add", name)

    @property
    def inside(self) -> list[str]:
        """The words before a command that make it run on this host."""
        return ["ip", "netns", "exec", self.name]

    def processes(self) -> list[psutil.Process]:
        """All that runs there."""
        pids = ip("netns", "pids", self.name).split()
        found = []
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(pid)))
        return [process for process in found if runs(process)]

    def titled(self, title: str) -> list[psutil.Process]:
        """The processes there whose title begins so."""
        return processes_titled(self.processes(), title)

    def kill_all(self) -> None:
        """Ends all that runs there, at once."""

        def none_left() -> bool:
            for process in (left := self.processes()):
                kill(process)
            return not left

        wait_until(none_left, f"the end of {self.name}", 30)


class Hosts:
    """A head without CPUs, on which commands run, and hosts that join it; leaving it ends all.

    Attributes:
        head: the first host.
        environment: what commands and the other hosts' Rays are told, the token among it.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._prefix = f"ns{os.getpid()}"
        self._scratch = Path(tempfile.mkdtemp(prefix="ns", dir="/tmp"))
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.environment = {**own_environment(self._scratch), **token, **environment}
        self._hosts: list[Host] = []
        self._up: list[Host] = []  # but the head
        self._commands: list[psutil.Popen] = []
        try:
            self.head = self._new_host()
            ip("-n", self.head.name, "link", "add", _SWITCH, "type", "bridge")
            self._plug_in(self.head, _SWITCH)
            address = f"{self.head.address}:{_PORT}"
            self._start(
                self.head, "--head", f"--port={_PORT}", "--num-cpus=0", "--include-dashboard=false"
            )
            self.environment["RAY_ADDRESS"] = address
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Hosts":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def up(self) -> Host:
        """A host that is up: the one that was neither killed nor cut off, or a new one."""
        return self._up[0] if self._up else self.join()

    def join(self) -> Host:
        """A new host of three CPUs, whose Ray has joined."""
        host = self._new_host()
        cable, plug = f"cable{host.address.rpartition('.')[2]}", "eth0"
        words = ["link", "add", cable, "type", "veth", "peer", "name", plug, "netns", host.name]
        ip("-n", self.head.name, *words)
        ip("-n", self.head.name, "link", "set", cable, "master", _SWITCH, "up")
        self._plug_in(host, plug)
        self._start(host, f"--address={self.environment['RAY_ADDRESS']}", "--num-cpus=3")
        self._up.append(host)
        return host

    def kill(self, host: Host) -> None:
        """Ends all that runs on a host, at once."""
        self._up.remove(host)
        host.kill_all()

    def cut(self, host: Host) -> None:
        """Takes down the cable to a host, on the switch's side, as when its plug is pulled.

        Its network device has no carrier then. Connections that are open stay so and carry nothing,
        neither end is told; a new one finds no route after some 3 s.
        """
        cable = f"cable{host.address.rpartition('.')[2]}"
        self._up.remove(host)
        ip("-n", self.head.name, "link", "set", cable, "down")

    def close(self) -> None:
        """Kills what runs on the hosts, and removes them."""
        try:
            for host in self._hosts:
                host.kill_all()
            for process in self._commands:
                process.wait()
        finally:
            for host in self._hosts:  # cables and switch go with the namespaces they lie in
                ip("netns", "del", host.name)
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _new_host(self) -> Host:
        host = Host(f"{self._prefix}-{len(self._hosts)}", len(self._hosts) + 1)
        self._hosts.append(host)
        ip("-n", host.name, "link", "set", "lo", "up")
        return host

    def _plug_in(self, host: Host, device: str) -> None:
        ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", device)
        ip("-n", host.name, "link", "set", device, "up")
        # Ray asks for the way to a public address to learn its own one; nothing is sent there.
        ip("-n", host.name, "route", "add", "default", "dev", device)

    def _start(self, host: Host, *words: str) -> None:
        """Ray on a host, in a folder of its own: Ray's name of it would be the same on all."""
        own = self._scratch / host.name
        own.mkdir()
        Path("/tmp/ray").mkdir(exist_ok=True)
        ray_start = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
            f"--node-ip-address={host.address}",
            f"--object-store-memory={150 * 2**20}",
            *words,
        ]
        shell = f'mount --bind {own} /tmp/ray && exec "$@"'
        with open(own / "printed", "wb") as printed:
            self._commands.append(
                psutil.Popen(
                    [*host.inside, "sh", "-c", shell, "sh", *ray_start],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=subprocess.STDOUT,
                )
            )
        started = self._commands[-1]

        def up() -> bool:
            said = (own / "printed").read_text(errors="replace")
            assert started.poll() is None, said
            return "Ray runtime started" in said

        wait_until(up, f"Ray on {host.name}")

    def on_head(self) -> list[str]:
        """The words before a command that make it run on the head, with the head's Ray folder."""
        return ["nsenter", f"--target={self._commands[0].pid}", "--mount", "--net"]


def ip(*words: str) -> str:
    """Runs `ip`; returns what it prints."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
    return done.stdout


def why_not() -> str:
    """Why this machine cannot hold such hosts; empty where it can."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("nsenter"):
        return "needs root, ip and nsenter"
    name = f"ns{os.getpid()}-try"
    try:
        with _tried(name):
            ip("-n", name, "link", "add", "cable", "type", "veth", "peer", "name", "plug")
            ip("-n", name, "link", "add", _SWITCH, "type", "bridge")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.strip()}"
    return ""


@contextlib.contextmanager
def _tried(name: str) -> Iterator[None]:
    ip("netns", "add", name)
    try:
        yield
    finally:
        ip("netns", "del", name)
