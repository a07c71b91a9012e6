"""Jobs across hosts with addresses and tokens of their own: one is killed, one is cut off."""

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

from jobs.generate import COMMAND as GENERATE
from pipeline.formats.output import sha256_of_file

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


def test_a_host_is_cut_off_while_it_generates_and_the_set_is_the_same(
    whole_run: Callable[[int], Path], hosts: Hosts, tmp_path: Path
) -> None:
    words = ["--model", str(whole_run(1) / "model"), "--count", "1536", "--rows-per-shard", "128"]
    words += ["--layers", "30,30"]  # a shard takes about a second
    whole, output = tmp_path / "whole", tmp_path / "samples"
    assert GENERATE.run([*words, "--output", str(whole)], "generate") == 0
    first = hosts.join(cpus=3)
    command = hosts.run("jobs.generate", *words, "--output", str(output))

    def some_are_made() -> bool:
        assert command.poll() is None, hosts.printed("jobs.generate")
        return len(files_in(output)) >= 3

    wait_until(some_are_made, "three shards")
    hosts.cut(first)
    assert len(files_in(output)) < 12
    hosts.join(cpus=3)
    wait_until(lambda: command.poll() is not None, "the command's end")
    assert command.returncode == 0, hosts.printed("jobs.generate")
    assert files_in(output) == files_in(whole)
    assert len(files_in(output)) == 12


def files_in(directory: Path) -> dict[str, str]:
    """The hash of each Parquet file that is in place."""
    return {
        str(file.relative_to(directory)): sha256_of_file(file)
        for file in directory.rglob("part-*.parquet")
    }
