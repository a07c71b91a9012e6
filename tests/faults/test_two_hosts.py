"""Jobs across hosts with addresses and tokens of their own: one is killed, one is cut off.

The batch job goes first: Ray Data 2.60 keeps a cluster's record of where actors are on the node
that asked first, for ever. Training asks from a worker's node, and whoever needs the record after
that node is gone ends with an ActorUnschedulableError.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from driver import Driver
from hosts import Hosts, why_not
from in_this_process import generate_here
from ray_nodes import NOTICE_SOON
from training_runs import (
    KILL_TWICE_AT,
    TRAINING_WORKER,
    StepLog,
    arguments,
    check_repeated,
    check_same_end,
    wait_until,
)

from jobs.generate import COMMAND as GENERATE
from pipeline.formats.output import sha256_of_file

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    if reason := why_not():
        pytest.skip(reason)
    with Hosts(NOTICE_SOON) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def driver(hosts: Hosts) -> Iterator[Driver]:
    """A driver on the head."""
    with Driver(hosts.environment, inside=hosts.on_head()) as driver:
        yield driver


def test_a_host_is_cut_off_while_it_generates_and_the_set_is_the_same(
    whole_run: Callable[[int], Path],
    hosts: Hosts,
    driver: Driver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["--model", str(whole_run(1) / "model"), "--count", "1024", "--rows-per-shard", "128"]
    words += ["--layers", "30,30"]  # a shard takes about a second
    whole, output = tmp_path / "whole", tmp_path / "samples"
    with monkeypatch.context() as patch:
        generate_here(patch)
        assert GENERATE.run([*words, "--output", str(whole)], "generate") == 0
    first = hosts.up()
    ended = driver.start("jobs.generate", [*words, "--output", str(output)])
    wait_until(lambda: ended() or len(files_in(output)) >= 2, "two shards")
    hosts.cut(first)
    assert len(files_in(output)) < 8
    hosts.join()
    wait_until(ended, "the command's end")
    assert files_in(output) == files_in(whole)
    assert len(files_in(output)) == 8


def test_one_host_is_killed_the_next_cut_off_and_one_that_joins_late_ends_the_run(
    fault_digits: Path,
    whole_run: Callable[[int], Path],
    hosts: Hosts,
    driver: Driver,
    tmp_path: Path,
) -> None:
    whole = whole_run(1)
    log = StepLog(output := tmp_path / "run")
    first = hosts.up()
    ended = driver.start("jobs.train_stack", arguments(fault_digits, output))

    def goes_on_after(step: int) -> bool:
        assert not ended()
        return log.look() > 0 and any(again > step for again in log.repeated())

    log.wait_for_step(KILL_TWICE_AT[0], ended)
    assert len(first.titled(TRAINING_WORKER)) == 1
    hosts.kill(first)
    second = hosts.join()
    log.wait_for_step(KILL_TWICE_AT[1], ended)
    assert log.repeated()
    # It would have trained to the end before anyone noticed: hold it until it is behind.
    (worker,) = second.titled(TRAINING_WORKER)
    worker.suspend()
    hosts.cut(second)
    third = hosts.join()
    wait_until(lambda: goes_on_after(KILL_TWICE_AT[0] + 20), "training on the last host")
    assert len(third.titled(TRAINING_WORKER)) == 1
    worker.resume()
    log.wait_for_the_end(ended)
    check_repeated(log, faults=2)
    check_same_end(output, whole)


def files_in(directory: Path) -> dict[str, str]:
    """The hash of each Parquet file that is in place."""
    return {
        str(file.relative_to(directory)): sha256_of_file(file)
        for file in directory.rglob("part-*.parquet")
    }
