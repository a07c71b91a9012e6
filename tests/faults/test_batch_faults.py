"""Batch jobs whose driver or actor is killed: the set is the uninterrupted one, bit for bit.

Each test is one and the same for `generate`, with the stack whole in an actor and spread over a
chain of pools, for `perturb`, `certify` and `ingest`: they are the same kind of job. One set goes
through all of it: its driver is killed; the command that goes on loses an actor, and is interrupted
before it writes the manifest; then a file is damaged.
"""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from batch_runs import (
    FINISHED_FIRST,
    JOBS,
    Batch,
    Held,
    actors,
    check_held,
    check_whole,
    hashes,
    kill_an_actor_in_a_shard,
)
from training_runs import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

Whole = tuple[Batch, Path]
Stopped = tuple[Batch, Path, Held]  # and what was finished when it was stopped


@pytest.fixture(scope="module", params=JOBS)
def whole(
    request: pytest.FixtureRequest, whole_batch: Callable[[str], Whole], ray_cluster: None
) -> Whole:
    """A batch job without its output, and the set that it made when nothing interrupted it."""
    return whole_batch(request.param)


@pytest.fixture(scope="module")
def without_driver(whole: Whole) -> Stopped:
    """The job whose driver was killed."""
    batch, set_ = whole
    with batch.started() as process:
        wait_until(
            lambda: process.poll() is not None or len(batch.records()) >= FINISHED_FIRST,
            "the first shards",
        )
        assert process.poll() is None
        process.kill()
        process.wait()
    wait_until(lambda: not actors(), "the end of its actors")
    return batch, set_, batch.finished()


@pytest.fixture(scope="module")
def without_manifest(without_driver: Stopped) -> Stopped:
    """Then all shards were made, though an actor was killed in one, and the manifest was not."""
    batch, set_, _ = without_driver
    job = importlib.import_module(f"jobs.{batch.module}")
    run_shards = job.run_shards

    def interrupted(*arguments: Any, **options: Any) -> None:
        run_shards(*arguments, **options)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as thread:
        patch.setattr(job, "run_shards", interrupted)
        killing = thread.submit(kill_an_actor_in_a_shard, batch)
        assert batch.run() == 130
        return batch, set_, killing.result()


def test_after_the_driver_was_killed_the_same_command_goes_on(
    without_driver: Stopped, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    batch, whole, held = without_driver
    assert len(held) < len(list(whole.rglob("*.parquet")))
    before = hashes(batch.output)
    capsys.readouterr()
    assert batch.run(seed=4) == 2
    assert "holds the results of another config (seed is 3 there and 4 here)" in _said(capsys)
    assert hashes(batch.output) == before
    request.getfixturevalue("without_manifest")
    assert "of them from an earlier run" in _said(capsys)
    check_held(batch, held)


def test_an_actor_killed_in_a_shard_costs_that_shard_alone(without_manifest: Stopped) -> None:
    batch, whole, held = without_manifest
    assert len(held) < len(batch.finished())
    check_held(batch, held)
    theirs = {file: digest for file, digest in hashes(whole).items() if "part-" in file}
    ours = hashes(batch.output)
    assert {file: ours.get(file) for file in theirs} == theirs


def test_interrupted_before_its_manifest_it_makes_only_the_shard_that_was_damaged(
    without_manifest: Stopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, whole, _ = without_manifest
    held = batch.finished()
    damaged = batch.output / min(held)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    # One actor a pool is enough for one shard. (What a config says stands in some manifests.)
    monkeypatch.setattr("jobs.common.sharded.pool_sizes", lambda pools, _: [1] * len(pools))
    assert batch.run() == 0
    others = {file: place for file, place in held.items() if Path(file).name != damaged.name}
    assert len(others) < len(held)
    check_whole(batch, whole, others)
    # And a finished set is left as it is.
    assert batch.run() == 0
    check_whole(batch, whole, others)


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err
