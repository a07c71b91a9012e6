"""What jobs do without Ray: one worker in this process, the last shard first."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import torch
from ranks import run_ranks

from jobs.common.batches import Batch
from jobs.common.pools import Pool
from jobs.common.records import finished_record
from jobs.common.shard_runner import write_record
from jobs.common.stack_publisher import publish_stack
from jobs.common.stack_run import StackRun
from jobs.common.stream import TrainingData
from jobs.common.training import Workers, _Follower
from pipeline.formats.shard import images_of, iterate, labels_of


def perturb_here(patched: pytest.MonkeyPatch) -> None:
    """`perturb` with neither Ray nor the figures that every perturbation set has."""
    patched.setattr("jobs.perturb.run_shards", in_this_process)
    patched.setattr("jobs.perturb.ray_session", contextlib.nullcontext)
    patched.setattr("jobs.perturb._draw", lambda *_: None)
    sizes = SimpleNamespace(median_size=None)
    patched.setattr("jobs.perturb.draw_robustness", lambda *_: sizes)


def certify_here(patched: pytest.MonkeyPatch) -> None:
    """`certify` with neither Ray nor the curve's picture."""
    patched.setattr("jobs.certify.run_shards", in_this_process)
    patched.setattr("jobs.certify.ray_session", contextlib.nullcontext)
    patched.setattr("jobs.certify.draw_certified", lambda *_: None)


def generate_here(patched: pytest.MonkeyPatch) -> None:
    """`generate` without Ray."""
    patched.setattr("jobs.generate.run_shards", in_this_process)
    patched.setattr("jobs.generate.ray_session", contextlib.nullcontext)


def train_here(patched: pytest.MonkeyPatch) -> None:
    """The training jobs with neither Ray Train nor Ray Data.

    One worker is here; several are processes of their own (`ranks`). All hold the split in memory.
    """
    one = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    patched.setattr("ray.train.get_context", lambda: one)
    patched.setattr("ray.train.report", lambda _: None)
    patched.setattr("ray.train.torch.get_device", lambda: torch.device("cpu"))
    patched.setattr("jobs.common.stream.read_split", read_here)
    patched.setattr("jobs.common.stack_training.run_training", _run_here)
    patched.setattr("jobs.train_classifier.run_training", _run_here)
    patched.setattr("jobs.train_stack.ray.cluster_resources", dict)
    patched.setattr("jobs.train_picture_encoder.run_training", _run_here)
    for job in ("train_stack", "train_prior"):
        patched.setattr(f"jobs.{job}.publish", _publish_here)
    for job in ("train_stack", "train_prior", "train_classifier", "train_picture_encoder"):
        patched.setattr(f"jobs.{job}.ray_session", contextlib.nullcontext)


def _run_here(
    loop: Callable[[dict[str, Any]], None],
    loop_config: dict[str, Any],
    *,
    output: Path,
    workers: Workers,
    progress: Callable[[dict[str, Any]], str],
) -> None:
    with _Follower(output, progress, lambda: None):
        if not workers.num_workers:
            loop(loop_config)
        else:
            assert isinstance(workers.num_workers, int)
            run_ranks(loop, loop_config, workers.num_workers, output / "ranks")


def read_here(data: TrainingData) -> Batch:
    """What `read_split` does."""
    table = pa.concat_tables(iterate(data.info.path, data.info.splits[data.split], data.columns))
    columns = {"image": images_of(table)}
    return {**columns, "label": labels_of(table)} if data.labelled else columns


def _publish_here(
    runs: Sequence[StackRun], output: Path, described: dict[str, Any], workers: Workers
) -> None:
    publish_stack(runs, output, described, "cpu")


def in_this_process(
    pools: Pool | Sequence[Pool], shards: Sequence[dict[str, Any]], output: Path, **_: Any
) -> list[dict[str, Any]]:
    """What `run_shards` does."""
    chain = [pools] if isinstance(pools, Pool) else pools
    workers = [pool.worker_class(**pool.worker_args) for pool in chain]

    def made(shard: dict[str, Any]) -> Any:
        if len(workers) == 1:
            return workers[0](shard)
        carry = None
        for worker in workers:
            carry = worker(shard, carry)
        return carry

    def record(shard: dict[str, Any]) -> dict[str, Any]:
        return finished_record(output, shard) or write_record(output, shard, made(shard))

    return [record(shard) for shard in reversed(shards)][::-1]
