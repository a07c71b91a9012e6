"""Training whose node is gone: another node takes over, at the same bits."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ray_nodes import RayNodes
from training_runs import KILL_AT, StepLog, TrainingRun, check_repeated, check_same_end

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_node_that_trains_is_lost_and_another_takes_over(
    fault_digits: Path, whole_run: Callable[[int], Path], tmp_path: Path, num_workers: int
) -> None:
    whole = whole_run(num_workers)
    log = StepLog(output := tmp_path / "run")
    with RayNodes() as nodes:
        raylets = [nodes.add(cpus=3), nodes.add(cpus=3)]
        with TrainingRun(
            fault_digits, log, output, environment=nodes.environment, num_workers=num_workers
        ) as run:
            run.wait_for_step(KILL_AT)
            lost = max(raylets, key=nodes.training)
            assert nodes.training(lost) == num_workers
            nodes.remove(lost)
            run.finish()
    check_repeated(log)
    check_same_end(output, whole)
