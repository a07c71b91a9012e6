"""Training across hosts with addresses and tokens of their own: one is killed, one is cut off."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosts import Hosts, why_not
from ray_nodes import NOTICE_SOON
from training_runs import (
    KILL_AT,
    TRAINING_WORKER,
    StepLog,
    TrainingRun,
    check_repeated,
    check_same_end,
    wait_until,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if reason := why_not():
        pytest.skip(reason)
    with Hosts(NOTICE_SOON) as hosts:
        yield hosts


@pytest.mark.parametrize("fault", ["killed", "cut off"])
def test_a_host_is_lost_and_one_that_joins_late_ends_the_run(
    fault_digits: Path, whole_run: Callable[[int], Path], hosts: Hosts, tmp_path: Path, fault: str
) -> None:
    whole = whole_run(1)
    log = StepLog(output := tmp_path / "run")
    first = hosts.join(cpus=3)
    with TrainingRun(
        fault_digits, log, output, environment=hosts.environment, inside=hosts.on_head()
    ) as run:
        run.wait_for_step(KILL_AT)
        (worker,) = first.titled(TRAINING_WORKER)
        if fault == "killed":
            first.kill_all()
        else:
            # It would have trained to the end before anyone noticed: hold it until it is behind.
            worker.suspend()
            hosts.cut(first)
        second = hosts.join(cpus=3)
        wait_until(lambda: log.look() > 0 and bool(log.repeated()), "training on the new host")
        assert len(second.titled(TRAINING_WORKER)) == 1
        if fault == "cut off":
            worker.resume()
        run.finish()
    check_repeated(log)
    check_same_end(output, whole)
