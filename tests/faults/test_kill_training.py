"""Training that is killed: the same number of steps, one interval repeated, the same bits."""

from collections.abc import Callable
from pathlib import Path

import pytest
from training_runs import (
    KILL_AT,
    TRAINING_WORKER,
    StepLog,
    TrainingRun,
    check_repeated,
    check_same_end,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_killed_training_worker_is_replaced_within_the_run(
    fault_digits: Path, whole_run: Callable[[int], Path], tmp_path: Path, num_workers: int
) -> None:
    log = StepLog(output := tmp_path / "run")
    with TrainingRun(fault_digits, log, output, num_workers=num_workers) as run:
        run.wait_for_step(KILL_AT)
        run.processes(TRAINING_WORKER)[0].kill()
        run.finish()
        run.wait_for_the_orphans()
    check_repeated(log)
    check_same_end(output, whole_run(num_workers))


def test_a_killed_driver_takes_its_ray_along_and_the_same_command_goes_on(
    fault_digits: Path, whole_run: Callable[[int], Path], tmp_path: Path
) -> None:
    log = StepLog(output := tmp_path / "run")
    with TrainingRun(fault_digits, log, output, num_workers=2) as run:
        run.wait_for_step(KILL_AT)
        assert len(run.processes(TRAINING_WORKER)) == 2
        run.kill()
        run.wait_for_the_orphans()
    assert not (output / "model").exists()
    with TrainingRun(fault_digits, log, output, num_workers=2) as run:
        run.finish()
    check_repeated(log)
    check_same_end(output, whole_run(2))
