"""What jobs do without Ray: one worker in this process, the last shard first."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.common.pools import Pool
from jobs.common.records import finished_record
from jobs.common.shard_runner import write_record


def perturb_here(patched: pytest.MonkeyPatch) -> None:
    """`perturb` with neither Ray nor the figures that every perturbation set has."""
    patched.setattr("jobs.perturb.run_shards", in_this_process)
    patched.setattr("jobs.perturb.ray_session", contextlib.nullcontext)
    patched.setattr("jobs.perturb._draw", lambda *_: None)
    sizes = SimpleNamespace(median_size=None)
    patched.setattr("jobs.perturb.draw_robustness", lambda *_: sizes)


def generate_here(patched: pytest.MonkeyPatch) -> None:
    """`generate` without Ray, on a stack that one worker holds."""

    def run(pools: Sequence[Pool], *rest: Any, **more: Any) -> list[dict[str, Any]]:
        (pool,) = pools
        return in_this_process(pool, *rest, **more)

    patched.setattr("jobs.generate.run_shards", run)
    patched.setattr("jobs.generate.ray_session", contextlib.nullcontext)


def in_this_process(
    pool: Pool, shards: Sequence[dict[str, Any]], output: Path, **_: Any
) -> list[dict[str, Any]]:
    """What `run_shards` does."""
    worker = pool.worker_class(**pool.worker_args)

    def record(shard: dict[str, Any]) -> dict[str, Any]:
        return finished_record(output, shard) or write_record(output, shard, worker(shard))

    return [record(shard) for shard in reversed(shards)][::-1]
