"""Batch jobs: every shard exactly once, whatever was interrupted, killed or damaged before."""

import contextlib
import errno
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray.cloudpickle

from jobs.common.sharded import (
    ATTEMPTS,
    ShardRunner,
    finished_record,
    finished_records,
    pool_size,
    record_path,
    remove_records,
    run_shards,
)
from pipeline.errors import UserError
from pipeline.formats.output import sha256_of_file
from pipeline.formats.shard import iterate, shards_from_json, write_shard

Shard = dict[str, Any]

# Ray's workers cannot import a test module: ship its classes by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]


def shards(count: int, num_rows: int = 10) -> list[Shard]:
    return [
        {"index": index, "file": f"part-{index:05d}.parquet", "num_rows": num_rows}
        for index in range(count)
    ]


class Numbers:
    """A worker that writes each row's number; told so, it fails at one shard."""

    def __init__(self, output: Path, fail_at: int = -1, how: str = "") -> None:
        self._output, self._fail_at, self._how = output, fail_at, how
        if how == "build":
            raise UserError("the model is missing; train one")

    def __call__(self, shard: Shard) -> Shard:
        if shard["index"] == self._fail_at:
            self._fail()
        rows = shard["index"] * shard["num_rows"] + np.arange(shard["num_rows"])
        written = write_shard(pa.table({"row": rows}), self._output, shard["file"])
        return {**asdict(written), "extra": int(rows.sum())}

    def _fail(self) -> None:
        if self._how == "user":
            raise UserError("row 3 is bad; mend it")
        if self._how == "disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._how == "bug":
            raise ZeroDivisionError("a bug")
        if self._how == "die once" and not (self._output / "died").exists():
            (self._output / "died").touch()
            os._exit(1)
        if self._how == "die":
            os._exit(1)


def call(runner: ShardRunner, shard: Shard) -> Mapping[str, Any]:
    return runner({"shard": json.dumps(shard)})


def test_a_shard_gets_its_file_and_then_its_record(tmp_path: Path) -> None:
    (shard,) = shards(1)
    answer = call(ShardRunner(Numbers, {"output": tmp_path}, tmp_path), shard)
    record = json.loads(answer["record"])
    assert record == finished_record(tmp_path, shard)
    assert record["index"] == 0
    assert record["extra"] == 45
    assert record["sha256"] == sha256_of_file(tmp_path / shard["file"])
    assert sorted(file.name for file in tmp_path.rglob("*")) == [
        "part-00000.json",
        "part-00000.parquet",
        "records",
    ]


def test_a_finished_shard_is_not_done_again(tmp_path: Path) -> None:
    (shard,) = shards(1)
    call(ShardRunner(Numbers, {"output": tmp_path}, tmp_path), shard)
    before = (tmp_path / shard["file"]).stat()
    again = ShardRunner(Numbers, {"output": tmp_path, "fail_at": 0, "how": "bug"}, tmp_path)
    assert json.loads(call(again, shard)["record"]) == finished_record(tmp_path, shard)
    after = (tmp_path / shard["file"]).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("how", ["user", "build"])
def test_a_user_error_comes_back_as_data_and_leaves_no_record(tmp_path: Path, how: str) -> None:
    (shard,) = shards(1)
    runner = ShardRunner(Numbers, {"output": tmp_path, "fail_at": 0, "how": how}, tmp_path)
    answer = call(runner, shard)
    assert answer["error"].startswith(("row 3 is bad", "the model is missing"))
    assert finished_record(tmp_path, shard) is None


def test_a_full_disk_comes_back_as_data(tmp_path: Path) -> None:
    runner = ShardRunner(Numbers, {"output": tmp_path, "fail_at": 0, "how": "disk"}, tmp_path)
    answer = call(runner, shards(1)[0])
    assert answer["errno"] == errno.ENOSPC


def test_a_bug_is_raised_with_its_traceback(tmp_path: Path) -> None:
    runner = ShardRunner(Numbers, {"output": tmp_path, "fail_at": 0, "how": "bug"}, tmp_path)
    with pytest.raises(ZeroDivisionError):
        call(runner, shards(1)[0])


def test_a_shard_that_ended_its_process_too_often_ends_the_job(tmp_path: Path) -> None:
    (shard,) = shards(1)
    counter = record_path(tmp_path, shard).with_suffix(".attempts")
    counter.parent.mkdir()
    counter.write_bytes(b"." * ATTEMPTS)
    answer = call(ShardRunner(Numbers, {"output": tmp_path}, tmp_path), shard)
    assert answer["error"].startswith("part-00000 ended the process that worked on it 5 times")
    # Once told, the user may try again.
    assert call(ShardRunner(Numbers, {"output": tmp_path}, tmp_path), shard)["record"]


@pytest.mark.parametrize("how", ["user", "disk", "bug"])
def test_an_attempt_that_ended_with_an_exception_does_not_count(tmp_path: Path, how: str) -> None:
    runner = ShardRunner(Numbers, {"output": tmp_path, "fail_at": 0, "how": how}, tmp_path)
    with contextlib.suppress(ZeroDivisionError):
        call(runner, shards(1)[0])
    assert [file.name for file in tmp_path.rglob("*")] == ["records"]


def test_once_told_to_stop_a_runner_answers_with_nothing(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "stop").touch()
    answer = call(ShardRunner(Numbers, {"output": tmp_path}, tmp_path), shards(1)[0])
    assert answer == {"record": "", "error": "", "errno": 0}
    assert not list(tmp_path.glob("*.parquet"))


@pytest.mark.parametrize("damage", ["no file", "shorter", "other bytes", "record", "rows", "index"])
def test_a_shard_whose_file_or_record_was_damaged_is_not_finished(
    tmp_path: Path, damage: str
) -> None:
    (shard,) = shards(1)
    call(ShardRunner(Numbers, {"output": tmp_path}, tmp_path), shard)
    assert finished_record(tmp_path, shard) is not None
    file = tmp_path / shard["file"]
    content = file.read_bytes()
    match damage:
        case "no file":
            file.unlink()
        case "shorter":
            file.write_bytes(content[:-1])
        case "other bytes":
            file.write_bytes(content[:-1] + b"x")
        case "record":
            record_path(tmp_path, shard).write_text("{")
        case "rows":
            shard["num_rows"] += 1
        case "index":
            shard["index"] += 1
    assert finished_record(tmp_path, shard) is None


def test_a_record_of_several_files_needs_all_of_them(tmp_path: Path) -> None:
    (shard,) = shards(1)

    class TwoFiles(Numbers):
        def __call__(self, shard: Shard) -> Shard:
            files = [
                asdict(write_shard(pa.table({"row": range(5)}), self._output, f"{name}.parquet"))
                for name in ("a", "b")
            ]
            return {"num_rows": 10, "files": files}

    call(ShardRunner(TwoFiles, {"output": tmp_path}, tmp_path), shard)
    assert finished_record(tmp_path, shard) is not None
    (tmp_path / "b.parquet").unlink()
    assert finished_record(tmp_path, shard) is None


def test_finished_records_are_found_by_index(tmp_path: Path) -> None:
    assert finished_records(tmp_path, shards(3)) == {}
    runner = ShardRunner(Numbers, {"output": tmp_path}, tmp_path)
    for shard in (shards(3)[0], shards(3)[2]):
        call(runner, shard)
    assert sorted(finished_records(tmp_path, shards(3))) == [0, 2]
    remove_records(tmp_path)
    assert finished_records(tmp_path, shards(3)) == {}


@pytest.mark.parametrize(
    ("asked", "cpus", "gpus", "resources", "size"),
    [
        (None, 1, 0, {"CPU": 4}, 3),  # one CPU is kept spare
        (2, 1, 0, {"CPU": 4}, 2),
        (8, 1, 0, {"CPU": 4}, 3),
        (None, 1, 0, {"CPU": 1}, 1),
        (None, 2, 0, {"CPU": 8}, 3),
        (None, 0.5, 0, {"CPU": 2}, 2),
        (None, 1, 1, {"CPU": 64, "GPU": 8}, 8),
        (None, 1, 0.25, {"CPU": 64, "GPU": 2}, 8),
        (None, 0, 1, {"CPU": 1, "GPU": 2}, 2),
    ],
)
def test_the_pool_fits_the_cluster(
    asked: int | None, cpus: float, gpus: float, resources: dict[str, float], size: int
) -> None:
    assert pool_size(asked, cpus, gpus, resources) == size


@pytest.mark.parametrize(("cpus", "gpus"), [(5, 0), (1, 1)])
def test_a_worker_that_fits_nowhere_is_a_user_error(cpus: float, gpus: float) -> None:
    with pytest.raises(UserError, match="and the cluster has 4 and 0"):
        pool_size(None, cpus, gpus, {"CPU": 4})


def run(output: Path, count: int, **worker: Any) -> list[Shard]:
    return run_shards(
        Numbers,
        {"output": output, **worker},
        shards(count),
        output,
        num_workers=2,
        describe="numbers",
    )


def files_in(directory: Path) -> dict[str, tuple[str, int, int]]:
    """Of each Parquet file: its hash, inode and time of change."""
    return {
        file.name: (sha256_of_file(file), file.stat().st_ino, file.stat().st_mtime_ns)
        for file in directory.glob("*.parquet")
    }


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_all_rows_are_written_once_and_a_second_run_writes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    records = run(tmp_path, 12)
    assert [record["index"] for record in records] == list(range(12))
    tables = iterate(tmp_path, shards_from_json(records, tmp_path))
    rows = [row for table in tables for row in table["row"].to_pylist()]
    assert rows == list(range(120))
    assert "numbers: 120 of 120 rows (100%)" in capfd.readouterr().err
    before = files_in(tmp_path)
    assert run(tmp_path, 12) == records
    assert files_in(tmp_path) == before
    assert "numbers: 120 of 120 rows are there" in capfd.readouterr().err


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_what_a_full_disk_stopped_half_way_is_resumed_to_the_same_bytes(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    runner = ShardRunner(Numbers, {"output": whole}, whole)
    for shard in shards(12):
        call(runner, shard)
    with pytest.raises(OSError, match="No space left") as raised:
        run(stopped, 12, fail_at=6, how="disk")
    assert raised.value.errno == errno.ENOSPC
    assert type(raised.value) is OSError
    half = files_in(stopped)
    assert 0 < len(half) < 12
    assert sorted(file.suffix for file in stopped.rglob("*") if file.is_file()) == [
        *[".json"] * len(half),
        *[".parquet"] * len(half),
    ]
    finished = finished_records(stopped, shards(12))
    records = run(stopped, 12)
    assert {name: held[0] for name, held in files_in(stopped).items()} == {
        name: held[0] for name, held in files_in(whole).items()
    }
    for index, record in finished.items():
        assert records[index] == record
        assert files_in(stopped)[record["file"]] == half[record["file"]]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_that_died_is_replaced_and_no_row_is_lost(tmp_path: Path) -> None:
    records = run(tmp_path, 8, fail_at=3, how="die once")
    assert (tmp_path / "died").exists()
    assert sum(record["num_rows"] for record in records) == 80
    tables = iterate(tmp_path, shards_from_json(records, tmp_path))
    assert [row for table in tables for row in table["row"].to_pylist()] == list(range(80))
