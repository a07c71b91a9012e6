"""The CPUs and GPUs that a command asks of Ray.

A command that can never have them is refused, and one that waits for them says so. Ray itself does
neither: a task, an actor or a placement group that fits no node stays pending.
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

import ray
from ray._private import ray_constants, worker
from ray._private.state import state
from ray.experimental import internal_kv

from pipeline.errors import UserError

EVERY_SECONDS = 30.0
_TOLERANCE = 1e-9  # of sums of fractions of a GPU
_KINDS = ("CPU", "GPU")
# What Ray's monitor calls a node of a cluster that nobody scales: a node type of its own.
_UNSCALED = "node_"

Resources = Mapping[str, float]


@dataclass(frozen=True)
class Demand:
    """A number of equal workers, each of which must fit on one node.

    Attributes:
        workers: the least number of them.
        cpus, gpus: of each worker; a fraction of a GPU shares it with others.
    """

    workers: int
    cpus: float
    gpus: float = 0.0

    def of(self, kind: str) -> float:
        """The CPUs or GPUs of one worker."""
        return self.cpus if kind == "CPU" else self.gpus

    def __str__(self) -> str:
        amount = _amount({"CPU": self.cpus, "GPU": self.gpus})
        if self.workers == 1:
            return f"one worker needs {amount}"
        return f"{self.workers} workers need {amount} each"


@dataclass(frozen=True)
class Supply:
    """The resources that a cluster has, and those that an autoscaler may add.

    Attributes:
        nodes: the resources of each living node.
        groups: for each group of nodes that an autoscaler may start, the resources of a node and
            the greatest number of nodes.
        is_final: whether the cluster can have nothing beyond nodes and groups. False if an
            autoscaler runs that does not report its groups.
    """

    nodes: Sequence[Resources]
    groups: Sequence[tuple[Resources, int]] = ()
    is_final: bool = True

    def total(self, kind: str) -> float:
        """The CPUs or GPUs of all nodes that there can be."""
        growth = sum(node.get(kind, 0.0) * count for node, count in self.groups)
        return sum(node.get(kind, 0.0) for node in self.nodes) + growth

    def places(self, demand: Demand) -> int:
        """How many workers fit on all nodes that there can be, if nothing else runs there."""
        counted = [(node, 1) for node in self.nodes] + list(self.groups)
        return sum(count * _places(node, demand) for node, count in counted)


def supply() -> Supply:
    """The resources of the Ray that this process has joined."""
    nodes = [dict(n["Resources"]) for n in ray.nodes() if n["Alive"]]  # type: ignore[no-untyped-call]
    own = worker._global_node
    if own is not None and own.head:  # a private one, which nothing can join
        return Supply(nodes)
    config = state.get_cluster_config()
    node_groups = config.node_group_configs if config else ()
    groups = [(dict(group.resources), int(group.max_count)) for group in node_groups]
    return Supply(nodes, groups, is_final=bool(groups) or not _may_be_scaled())


def _may_be_scaled() -> bool:
    """Whether an autoscaler runs; True if that is unknown."""
    status = internal_kv._internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS)
    if not status:
        return True
    report = json.loads(status).get("autoscaler_report") or {}
    return not all(name.startswith(_UNSCALED) for name in report.get("active_nodes", ["unknown"]))


def refuse_impossible(demands: Sequence[Demand], there: Supply) -> None:
    """Raises UserError, in one line, if the cluster can never give what is demanded."""
    demands = _merged(demands)
    for demand in demands:
        if demand.gpus > 1 and demand.gpus != int(demand.gpus):
            raise UserError(
                f"a worker cannot have {demand.gpus:g} GPUs: above one they are given whole"
            )
    needed = {kind: sum(d.workers * d.of(kind) for d in demands) for kind in _KINDS}
    enough = all(needed[kind] <= there.total(kind) + _TOLERANCE for kind in _KINDS)
    if there.is_final and not (enough and all(there.places(d) >= d.workers for d in demands)):
        has = {kind: there.total(kind) for kind in _KINDS}
        nodes = [*there.nodes, *(node for node, count in there.groups if count)]
        most = {kind: max((n.get(kind, 0.0) for n in nodes), default=0.0) for kind in _KINDS}
        raise UserError(
            f"{' and '.join(map(str, demands))}, and the cluster has {_amount(has)}, on one node "
            f"at most {_amount(most)}; ask for less or start a larger cluster"
        )


def require(*demands: Demand) -> None:
    """Raises UserError, in one line, if the joined Ray can never give what is demanded."""
    refuse_impossible(demands, supply())


class Waiting:
    """Prints every 30 s what the command waits for, until `over` is called or the block ends.

    Args:
        what: the first words of a line.
        demands: of the workers that it waits for.
    """

    def __init__(
        self,
        what: str,
        demands: Sequence[Demand],
        *,
        every: float | None = None,
        stream: TextIO | None = None,
        state_of_cluster: Callable[[], tuple[Resources, Resources]] | None = None,
    ) -> None:
        self._what, self._demands = what, _merged(demands)
        self._every = EVERY_SECONDS if every is None else every
        self._stream, self._state = stream, state_of_cluster or _state_of_cluster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._say, daemon=True)

    def __enter__(self) -> "Waiting":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over()
        self._thread.join(timeout=5)

    def over(self) -> None:
        """Ends the waiting: the workers run."""
        self._over.set()

    def _say(self) -> None:
        start = time.monotonic()
        while not self._over.wait(self._every):
            with suppress(Exception):  # Ray that is just ending; the lines are no reason to fail
                has, free = self._state()
                print(
                    f"{self._what}: no result yet after {time.monotonic() - start:.0f} s; "
                    f"{' and '.join(map(str, self._demands))}; the cluster has "
                    f"{_amount(has)}, of which {_amount(free)} free",
                    file=self._stream or sys.stderr,
                    flush=True,
                )


def _state_of_cluster() -> tuple[Resources, Resources]:
    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return has, free


def _merged(demands: Sequence[Demand]) -> list[Demand]:
    """Demands with equal workers merged into one."""
    counts: Counter[tuple[float, float]] = Counter()
    for demand in demands:
        counts[demand.cpus, demand.gpus] += demand.workers
    return [Demand(workers, *each) for each, workers in counts.items()]


def _places(node: Resources, demand: Demand) -> int:
    fits = [
        int(node.get(kind, 0.0) / demand.of(kind) + _TOLERANCE)
        for kind in _KINDS
        if demand.of(kind) > 0
    ]
    return min(fits, default=demand.workers)


def _amount(resources: Resources) -> str:
    cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    return f"{cpus:g} CPU{'' if cpus == 1 else 's'} and {gpus:g} GPU{'' if gpus == 1 else 's'}"
