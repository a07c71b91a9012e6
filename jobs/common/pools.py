"""Pools of actors, and how the workers that a cluster holds are shared out among them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisestack.resources import Demand

_MOST_WORKERS = 16_384  # of all pools; a worker that takes neither CPUs nor GPUs would fit for ever
_TOLERANCE = 1e-9  # of sums of fractions of a GPU


@dataclass(frozen=True)
class Pool:
    """One pool of actors, each of which calls `worker_class(**worker_args)` once and keeps it.

    Attributes:
        num_workers: actors at most; None for as many as the cluster holds, with one CPU kept spare.
        cpus_per_worker, gpus_per_worker: what an actor takes of the cluster; fractions share one.
        cost: this pool's share of the work among the pools of a chain, in any unit. Pools that say
            no `num_workers` get workers in proportion to it.
    """

    worker_class: Callable[..., Any]
    worker_args: Mapping[str, Any]
    num_workers: int | None = None
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    cost: float = 1.0

    @property
    def demand(self) -> Demand:
        """What its first worker takes of the cluster."""
        return Demand(1, self.cpus_per_worker, self.gpus_per_worker)


def pool_sizes(pools: Sequence[Pool], resources: Mapping[str, float]) -> list[int]:
    """How many workers each pool starts with: at least one, and no more than the cluster holds now.

    One CPU is kept spare for Ray's own tasks (with none, a pool was seen to wait for ever), unless
    that left a pool without a worker. Pools that name a number get theirs first. Then each further
    worker goes to the pool that holds the others up: the one with the most cost a worker.

    Where not even one worker of each pool fits now, they are waited for: what never comes is
    refused by `noisestack.resources`.
    """
    have_cpus, have_gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    sizes = [1] * len(pools)

    def fits(counts: Sequence[int], spare_cpus: float) -> bool:
        cpus, gpus = _needs(pools, counts)
        left = (have_cpus - spare_cpus - cpus, have_gpus - gpus)
        return min(left) >= -_TOLERANCE and sum(counts) <= _MOST_WORKERS

    def grow(number: int) -> bool:
        sizes[number] += 1
        # A pool that takes no CPUs takes none from Ray's tasks either.
        spare = 1.0 if pools[number].cpus_per_worker else 0.0
        if fits(sizes, spare):
            return True
        sizes[number] -= 1
        return False

    for number, pool in enumerate(pools):
        while pool.num_workers is not None and sizes[number] < pool.num_workers:
            if not grow(number):
                break
    open_ended = [number for number, pool in enumerate(pools) if pool.num_workers is None]
    while open_ended and grow(max(open_ended, key=lambda n: pools[n].cost / sizes[n])):
        pass
    return sizes


def _needs(pools: Sequence[Pool], counts: Sequence[int]) -> tuple[float, float]:
    """CPUs and GPUs of so many workers of each pool."""
    return (
        sum(n * pool.cpus_per_worker for n, pool in zip(counts, pools, strict=True)),
        sum(n * pool.gpus_per_worker for n, pool in zip(counts, pools, strict=True)),
    )
