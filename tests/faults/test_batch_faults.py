"""Batch jobs whose actor, driver or node is killed: the set is the uninterrupted one, bit for bit.

Each test is one and the same for `generate`, with the stack whole in an actor and spread over a
chain of pools, for `perturb` and for `ingest`: they are the same kind of job.
"""

import importlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from batch_runs import (
    ACTOR,
    FINISHED_FIRST,
    JOBS,
    Batch,
    check_whole,
    hashes,
    kill_an_actor_in_a_shard,
    kill_the_driver,
    make_batch,
)
from ray_nodes import RayNodes
from training_runs import PATIENCE, processes_titled, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module", params=JOBS)
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ray_cluster: None
) -> tuple[Batch, Path]:
    """A batch job, and the set that it made when nothing interrupted it."""
    batch = make_batch(request.param, tmp_path_factory.mktemp("batch"))
    assert batch.run() == 0
    return batch, batch.output.rename(batch.output.with_name("whole"))


@pytest.fixture
def batch(whole: tuple[Batch, Path]) -> Batch:
    """The job, with no output yet."""
    shutil.rmtree(whole[0].output, ignore_errors=True)
    return whole[0]


def test_an_actor_killed_in_a_shard_costs_that_shard_alone(
    batch: Batch, whole: tuple[Batch, Path]
) -> None:
    with ThreadPoolExecutor(1) as thread:
        killing = thread.submit(kill_an_actor_in_a_shard, batch)
        assert batch.run() == 0
        check_whole(batch, whole[1], killing.result())


def test_after_the_driver_was_killed_the_same_command_goes_on(
    batch: Batch, whole: tuple[Batch, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with batch.started() as process:
        wait_for_the_first_shards(batch, process)
        kill_the_driver(process)
    held, before = batch.finished(), hashes(batch.output)
    assert len(held) < len(list(whole[1].rglob("*.parquet")))
    capsys.readouterr()
    assert batch.run(seed=4) == 2
    assert "holds the results of another config (seed is 3 there and 4 here)" in _said(capsys)
    assert hashes(batch.output) == before
    assert batch.run() == 0
    assert "of them from an earlier run" in _said(capsys)
    check_whole(batch, whole[1], held)


def test_the_actors_of_a_lost_node_go_on_elsewhere(batch: Batch, whole: tuple[Batch, Path]) -> None:
    with RayNodes() as nodes:
        raylets = [nodes.add(cpus=3), nodes.add(cpus=3)]
        with batch.started(nodes.environment) as process:
            wait_for_the_first_shards(batch, process)
            held = batch.finished()
            lost = max(raylets, key=num_actors)
            assert num_actors(lost) > 0
            nodes.remove(lost)
            assert process.wait(PATIENCE) == 0
    check_whole(batch, whole[1], held)


def test_interrupted_before_its_manifest_it_makes_only_the_shard_that_was_damaged(
    batch: Batch, whole: tuple[Batch, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = importlib.import_module(f"jobs.{batch.module}")
    run_shards = job.run_shards

    def interrupted(*arguments: Any, **options: Any) -> None:
        run_shards(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job, "run_shards", interrupted)
        assert batch.run() == 130
    held = batch.finished()
    damaged = batch.output / min(held)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert batch.run() == 0
    others = {file: place for file, place in held.items() if Path(file).name != damaged.name}
    assert len(others) < len(held)
    check_whole(batch, whole[1], others)
    # And a finished set is left as it is.
    assert batch.run() == 0
    check_whole(batch, whole[1], others)


def wait_for_the_first_shards(batch: Batch, process: psutil.Popen) -> None:
    wait_until(
        lambda: process.poll() is not None or len(batch.records()) >= FINISHED_FIRST,
        "the first shards",
    )
    assert process.poll() is None


def num_actors(raylet: int) -> int:
    """How many actors run on a node."""
    return len(processes_titled(psutil.Process(raylet).children(), ACTOR))


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err
