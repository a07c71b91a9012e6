"""Training that is killed: the same number of steps, one interval repeated, the same bits."""

from collections.abc import Callable
from pathlib import Path

import pytest
from training_runs import (
    KILL_TWICE_AT,
    TRAINING_WORKER,
    StepLog,
    TrainingRun,
    arguments,
    check_repeated,
    check_same_end,
    check_weights_near,
)

from jobs.train_stack import COMMAND

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_killed_worker_is_replaced_within_the_run_and_after_a_killed_driver_the_command_goes_on(
    fault_digits: Path, whole_run: Callable[[int], Path], tmp_path: Path, ray_cluster: None
) -> None:
    """It leaves no process behind: the killed driver takes its Ray along."""
    log = StepLog(output := tmp_path / "run")
    with TrainingRun(fault_digits, log, output, num_workers=2) as run:
        run.wait_for_step(KILL_TWICE_AT[0])
        run.processes(TRAINING_WORKER)[0].kill()
        run.wait_for_step(KILL_TWICE_AT[1])
        assert log.repeated()
        assert len(run.processes(TRAINING_WORKER)) == 2
        run.kill()
        run.wait_for_the_orphans()
    assert not (output / "model").exists()
    assert COMMAND.run(arguments(fault_digits, output, num_workers=2), "train-stack") == 0
    log.look()
    check_repeated(log, faults=2)
    check_same_end(output, whole_run(2))


def test_two_workers_end_at_the_weights_of_one(whole_run: Callable[[int], Path]) -> None:
    check_weights_near(whole_run(2), whole_run(1))
