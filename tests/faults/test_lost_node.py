"""Jobs whose node is gone: another node takes over, at the same bits.

One cluster serves them all; a node that a test has ended is replaced before the next.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from batch_runs import ACTOR, FINISHED_FIRST, Batch, check_whole
from driver import Driver
from ray_nodes import RayNodes
from training_runs import (
    KILL_AT,
    STEPS,
    StepLog,
    arguments,
    check_repeated,
    check_same_end,
    check_weights_near,
    processes_titled,
    steps_and_losses,
    wait_until,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# Ray 2.60 reads once in 20 s which nodes there are: training that begins sooner after a node has
# joined begins without it, and takes it in a minute later.
NODES_READ_EVERY = 21.0


@pytest.fixture(scope="module")
def ray_nodes() -> Iterator[tuple[RayNodes, Driver]]:
    """A cluster of nodes that come and go, and a driver that joined it."""
    with RayNodes() as nodes, Driver(nodes.environment) as driver:
        yield nodes, driver


@pytest.mark.parametrize("job", ["generate in stages", "certify"])  # a chain of pools, and one
def test_the_actors_of_a_lost_node_go_on_elsewhere(
    job: str, whole_batch: Callable[[str], tuple[Batch, Path]], ray_nodes: tuple[RayNodes, Driver]
) -> None:
    batch, whole = whole_batch(job)
    nodes, driver = ray_nodes
    shutil.rmtree(batch.output, ignore_errors=True)
    raylets = nodes.two()
    ended = driver.start(f"jobs.{batch.module}", batch.arguments())
    wait_until(lambda: ended() or len(batch.records()) >= FINISHED_FIRST, "the first shards")
    assert not ended()
    held = batch.finished()
    lost = max(raylets, key=num_actors)
    assert num_actors(lost) > 0
    nodes.remove(lost)
    wait_until(ended, "the command's end")
    check_whole(batch, whole, held)


def num_actors(raylet: int) -> int:
    """How many actors run on a node."""
    return len(processes_titled(psutil.Process(raylet).children(), ACTOR))


def test_a_node_that_trains_is_lost_and_another_takes_over(
    fault_digits: Path,
    whole_run: Callable[[int], Path],
    ray_nodes: tuple[RayNodes, Driver],
    tmp_path: Path,
) -> None:
    whole = whole_run(1)
    nodes, driver = ray_nodes
    log = StepLog(output := tmp_path / "run")
    raylets = nodes.two()
    ended = driver.start("jobs.train_stack", arguments(fault_digits, output))
    log.wait_for_step(KILL_AT, ended)
    lost = max(raylets, key=nodes.training)
    assert nodes.training(lost) == 1
    nodes.remove(lost)
    log.wait_for_the_end(ended)
    check_repeated(log)
    check_same_end(output, whole)


def test_a_range_of_workers_trains_with_as_many_as_fit_and_with_fewer_when_a_node_is_lost(
    fault_digits: Path,
    whole_run: Callable[[int], Path],
    ray_nodes: tuple[RayNodes, Driver],
    tmp_path: Path,
) -> None:
    whole = whole_run(1)
    nodes, driver = ray_nodes
    log = StepLog(output := tmp_path / "run")
    raylets = nodes.two()  # a node holds one worker of two CPUs
    time.sleep(NODES_READ_EVERY)
    words = arguments(fault_digits, output, num_workers="1,2", cpus_per_worker=2)
    ended = driver.start("jobs.train_stack", words)
    log.wait_for_step(KILL_AT, ended)
    assert [nodes.training(raylet) for raylet in raylets] == [1, 1]
    nodes.remove(raylets[0])
    log.wait_for_the_end(ended)
    check_repeated(log)
    assert len(steps_and_losses(output)) == STEPS
    check_weights_near(output, whole)
