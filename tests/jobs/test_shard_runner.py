"""One actor's side: a shard gets its file and then its record, once, and failures come as data."""

import contextlib
import errno
from pathlib import Path
from typing import Any

import pytest
from numbers_worker import Ending, Interleaving, Numbers, Shard, Starting, shards

from jobs.common.records import finished_record, record_path, stop_path
from jobs.common.shard_runner import (
    ALREADY_DONE,
    ATTEMPTS,
    CARRIED,
    DONE,
    FAILED,
    NUMBER,
    STOPPED,
    ShardRunner,
)
from pipeline.formats.output import sha256_of_file


def runner(output: Path, **worker: Any) -> ShardRunner:
    return ShardRunner(Numbers, {"output": output, **worker}, shards(2), output)


def chain(output: Path, failing: int = -1, **worker: Any) -> list[ShardRunner]:
    """The runners of three pools, the one with this number made to fail."""
    return [
        ShardRunner(
            kind,
            {"output": output, **(worker if stage == failing else {})},
            shards(2),
            output,
            stage,
            3,
        )
        for stage, kind in enumerate((Starting, Interleaving, Ending))
    ]


def call(runners: ShardRunner | list[ShardRunner], number: int = 0) -> dict[str, Any]:
    row: dict[str, Any] = {NUMBER: number}
    for one in runners if isinstance(runners, list) else [runners]:
        row = one(row)
    return row


def files_in(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.rglob("*") if file.is_file())


def test_a_shard_gets_its_file_and_then_its_record(tmp_path: Path) -> None:
    answer = call(runner(tmp_path), 1)
    assert answer == {NUMBER: 1, "outcome": DONE, "carry": b"", "error": "", "errno": 0}
    record = finished_record(tmp_path, shards(2)[1])
    assert record is not None
    assert (record["index"], record["num_rows"], record["extra"]) == (1, 10, 145)
    assert record["sha256"] == sha256_of_file(tmp_path / "part-00001.parquet")
    assert files_in(tmp_path) == ["part-00001.json", "part-00001.parquet"]


def test_a_chain_of_pools_writes_the_bytes_of_one(tmp_path: Path) -> None:
    call(runner(tmp_path / "one"), 1)
    assert call(chain(tmp_path / "chain"), 1)["outcome"] == DONE
    one, three = (finished_record(tmp_path / name, shards(2)[1]) for name in ("one", "chain"))
    assert one == three
    assert files_in(tmp_path / "chain") == files_in(tmp_path / "one")


def test_a_finished_shard_is_not_done_again(tmp_path: Path) -> None:
    call(runner(tmp_path))
    before = (tmp_path / "part-00000.parquet").stat()
    assert call(runner(tmp_path, fail_at=0, how="bug"))["outcome"] == ALREADY_DONE
    # Not by any pool of a chain either, nor by the last one alone when Ray runs its task again.
    for failing in range(3):
        assert call(chain(tmp_path, failing, fail_at=0, how="bug"))["outcome"] == ALREADY_DONE
    again = chain(tmp_path, 2, fail_at=0, how="bug")[2]
    assert again({NUMBER: 0, "outcome": CARRIED, "carry": b"?"})["outcome"] == ALREADY_DONE
    after = (tmp_path / "part-00000.parquet").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("how", ["user", "build"])
def test_a_user_error_comes_back_as_data_and_leaves_no_record(tmp_path: Path, how: str) -> None:
    answer = call(runner(tmp_path, fail_at=0, how=how))
    assert answer["outcome"] == FAILED
    assert answer["error"].startswith(("row 3 is bad", "the model is missing"))
    assert finished_record(tmp_path, shards(2)[0]) is None


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_user_error_comes_back_from_any_pool_and_stops_them_all(
    tmp_path: Path, stage: int
) -> None:
    runners = chain(tmp_path, stage, fail_at=0, how="user")
    answer = call(runners)
    assert (answer["outcome"], answer["error"]) == (FAILED, "row 3 is bad; mend it")
    assert call(runners, 1)["outcome"] == STOPPED
    assert files_in(tmp_path) == ["stop"]


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_told_to_stop_each_pool_drops_what_it_was_handed(tmp_path: Path, stage: int) -> None:
    runners, row = chain(tmp_path), {NUMBER: 0}
    for before in runners[:stage]:
        row = before(row)
    stop_path(tmp_path).parent.mkdir(exist_ok=True)
    stop_path(tmp_path).touch()
    answer = call(runners[stage:], 0) if stage == 0 else runners[stage](row)
    assert answer == {NUMBER: 0, "outcome": STOPPED, "carry": b"", "error": "", "errno": 0}
    assert files_in(tmp_path) == ["stop"]


def test_a_full_disk_comes_back_as_data(tmp_path: Path) -> None:
    answer = call(runner(tmp_path, fail_at=0, how="disk"))
    assert (answer["outcome"], answer["errno"]) == (FAILED, errno.ENOSPC)


def test_a_bug_is_raised_with_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        call(runner(tmp_path, fail_at=0, how="bug"))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"num_rows": 9}, "should have 10 rows and has 9"),
        ({"num_rows": 9, "num_quarantined": 2}, "has 9, 9 of them in its files, and 2 quarantined"),
        ({"num_rows": 10, "files": [{"num_rows": 6}, {"num_rows": 3}]}, "10, 9 of them in its"),
    ],
)
def test_a_shard_whose_counts_do_not_add_up_is_an_error(
    tmp_path: Path, record: Shard, message: str
) -> None:
    lossy = ShardRunner(lambda: lambda shard: record, {}, shards(1), tmp_path)
    with pytest.raises(RuntimeError, match=message):
        call(lossy)
    assert not record_path(tmp_path, shards(1)[0]).exists()


def test_rows_that_are_quarantined_count_as_read(tmp_path: Path) -> None:
    worker = {"num_rows": 8, "num_quarantined": 2, "files": [{"num_rows": 5}, {"num_rows": 3}]}
    lossy = ShardRunner(lambda: lambda shard: worker, {}, shards(1), tmp_path)
    assert call(lossy)["outcome"] == DONE


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_shard_that_ended_its_process_too_often_ends_the_job(tmp_path: Path, stage: int) -> None:
    runners, row = chain(tmp_path), {NUMBER: 0}
    for before in runners[:stage]:
        row = before(row)
    counter = record_path(tmp_path, shards(1)[0]).with_suffix(f".{stage}.attempts")
    counter.parent.mkdir(parents=True, exist_ok=True)
    counter.write_bytes(b"." * ATTEMPTS)
    answer = runners[stage](row)
    assert answer["error"].startswith("part-00000 ended the process that worked on it 5 times")
    # Once told, the user may try again.
    stop_path(tmp_path).unlink()
    assert call(chain(tmp_path))["outcome"] == DONE


@pytest.mark.parametrize("how", ["user", "disk", "bug"])
def test_an_attempt_that_ended_with_an_exception_does_not_count(tmp_path: Path, how: str) -> None:
    with contextlib.suppress(ZeroDivisionError):
        call(runner(tmp_path, fail_at=0, how=how))
    stop_path(tmp_path).unlink(missing_ok=True)
    assert files_in(tmp_path) == []
