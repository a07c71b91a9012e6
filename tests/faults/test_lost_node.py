"""Training whose node is gone: another node takes over, at the same bits."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ray_nodes import RayNodes
from training_runs import (
    KILL_AT,
    STEPS,
    StepLog,
    TrainingRun,
    check_repeated,
    check_same_end,
    last_state,
    steps_and_losses,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_node_that_trains_is_lost_and_another_takes_over(
    fault_digits: Path, whole_run: Callable[[int], Path], tmp_path: Path
) -> None:
    whole = whole_run(1)
    log = StepLog(output := tmp_path / "run")
    with RayNodes() as nodes:
        raylets = [nodes.add(cpus=3), nodes.add(cpus=3)]
        with TrainingRun(fault_digits, log, output, environment=nodes.environment) as run:
            run.wait_for_step(KILL_AT)
            lost = max(raylets, key=nodes.training)
            assert nodes.training(lost) == 1
            nodes.remove(lost)
            run.finish()
    check_repeated(log)
    check_same_end(output, whole)


def test_a_range_of_workers_goes_on_with_fewer_when_a_node_is_lost(
    fault_digits: Path, whole_run: Callable[[int], Path], tmp_path: Path
) -> None:
    state = last_state(whole_run(1))
    log = StepLog(output := tmp_path / "run")
    with RayNodes() as nodes:
        raylets = [nodes.add(cpus=2), nodes.add(cpus=2)]  # a node holds one worker of two CPUs
        with TrainingRun(
            fault_digits,
            log,
            output,
            environment=nodes.environment,
            num_workers="1,2",
            cpus_per_worker=2,
        ) as run:
            run.wait_for_step(KILL_AT)
            assert [nodes.training(raylet) for raylet in raylets] == [1, 1]
            nodes.remove(raylets[0])
            run.finish()
    check_repeated(log)
    assert len(steps_and_losses(output)) == STEPS
    # Draws and batches do not depend on who shares a batch: only sums differ, by their order. Most
    # after 120 steps, 1.4e-5, is in the keys' biases, whose gradient is nothing but rounding.
    for name, value in last_state(output).items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=1e-4, msg=name)
