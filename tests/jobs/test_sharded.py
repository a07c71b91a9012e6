"""Batch jobs on Ray: every shard exactly once, whatever was interrupted or killed before."""

import errno
from pathlib import Path
from typing import Any

import numbers_worker
import pytest
import ray.cloudpickle
from numbers_worker import Ending, Failing, Interleaving, Numbers, Starting, shards

from jobs.common.pools import Pool
from jobs.common.records import Records, finished_record, stop_path
from jobs.common.row_ranges import RowRanges
from jobs.common.shard_runner import NUMBER, ShardRunner
from jobs.common.sharded import num_blocks, run_shards
from pipeline.errors import UserError
from pipeline.formats.output import sha256_of_file
from pipeline.formats.shard import iterate, shards_from_json

# Ray's workers cannot import a test's module: ship its classes by value.
ray.cloudpickle.register_pickle_by_value(numbers_worker)  # type: ignore[no-untyped-call]

ONE: tuple[type[Failing], ...] = (Numbers,)
CHAIN: tuple[type[Failing], ...] = (Starting, Interleaving, Ending)


def run(
    output: Path,
    count: int,
    kinds: tuple[type[Failing], ...] = ONE,
    failing: int = 0,
    **worker: Any,
) -> Records:
    """Runs a pool of two actors for each kind of worker, the one with this number told to fail."""
    pools = [
        Pool(kind, {"output": output, **(worker if stage == failing else {})}, num_workers=2)
        for stage, kind in enumerate(kinds)
    ]
    return run_shards(
        pools if len(pools) > 1 else pools[0], shards(count), output, describe="numbers"
    )


def files_in(directory: Path) -> dict[str, tuple[str, int, int]]:
    """Of each Parquet file: its hash, inode and time of change."""
    return {
        file.name: (sha256_of_file(file), file.stat().st_ino, file.stat().st_mtime_ns)
        for file in directory.glob("*.parquet")
    }


def hashes_in(directory: Path) -> dict[str, str]:
    return {name: held[0] for name, held in files_in(directory).items()}


def written_without_ray(output: Path, count: int) -> dict[str, str]:
    """The hash of each file as the workers write it, called one after another."""
    runner = ShardRunner(Numbers, {"output": output}, shards(count), output)
    for number in range(count):
        runner({NUMBER: number})
    return hashes_in(output)


@pytest.mark.parametrize(
    ("num_shards", "sizes", "blocks"),
    [
        (1, [2], 1),
        (1000, [2], 1000),  # a block each
        (100_000, [2], 1024),
        (1_000_000, [500], 8000),
        (1000, [2, 2], 1000),
        (100_000, [2, 2], 12_500),  # no more than 8 carries in one
    ],
)
def test_the_driver_sees_a_bounded_number_of_blocks(
    num_shards: int, sizes: list[int], blocks: int
) -> None:
    assert num_blocks(num_shards, sizes) == blocks


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("kinds", [ONE, CHAIN], ids=["one pool", "a chain"])
def test_all_rows_are_written_once_and_a_second_run_writes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kinds: tuple[type[Failing], ...]
) -> None:
    records = run(tmp_path / "run", 12, kinds)
    assert [record["index"] for record in records] == list(range(12))
    tables = iterate(tmp_path / "run", shards_from_json(records, tmp_path))
    rows = [row for table in tables for row in table["row"].to_pylist()]
    assert rows == list(range(120))
    assert "numbers: 120 of 120 rows (100%)" in capfd.readouterr().err
    before, held = files_in(tmp_path / "run"), list(records)
    assert hashes_in(tmp_path / "run") == written_without_ray(tmp_path / "alone", 12)
    assert list(run(tmp_path / "run", 12, kinds)) == held
    assert files_in(tmp_path / "run") == before
    assert "(100%), 120 of them from an earlier run" in capfd.readouterr().err


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_many_shards_share_a_block_and_all_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.common.sharded._BLOCKS", 3)
    monkeypatch.setattr("jobs.common.sharded._BLOCKS_A_WORKER", 1)
    records = run_shards(
        Pool(Numbers, {"output": tmp_path}, num_workers=2),
        RowRanges(200, 10),
        tmp_path,
        describe="numbers",
    )
    assert sum(record["num_rows"] for record in records) == 200
    assert len(files_in(tmp_path)) == len(records) == 20


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_what_a_full_disk_stopped_half_way_is_resumed_to_the_same_bytes(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
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
    finished = [finished_record(stopped, shard) for shard in shards(12)]
    records = run(stopped, 12)
    assert hashes_in(stopped) == written_without_ray(whole, 12)
    for record, before in zip(records, finished, strict=True):
        if before is not None:
            assert record == before
            assert files_in(stopped)[record["file"]] == half[record["file"]]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_user_error_in_any_pool_is_raised_as_it_is_and_leaves_nothing_half_done(
    tmp_path: Path, stage: int
) -> None:
    with pytest.raises(UserError, match="row 3 is bad; mend it"):
        run(tmp_path / "run", 6, CHAIN, stage, fail_at=2, how="user")
    assert not stop_path(tmp_path / "run").exists()
    run(tmp_path / "run", 6, CHAIN)
    assert hashes_in(tmp_path / "run") == written_without_ray(tmp_path / "alone", 6)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("kinds", "stage"), [(ONE, 0), (CHAIN, 1), (CHAIN, 2)])
def test_a_worker_that_died_is_replaced_and_no_row_is_lost_nor_half_a_file_left(
    tmp_path: Path, kinds: tuple[type[Failing], ...], stage: int
) -> None:
    records = run(tmp_path, 8, kinds, stage, fail_at=3, how="die once")
    assert (tmp_path / "died").exists()
    assert not list(tmp_path.rglob(".*"))
    assert sum(record["num_rows"] for record in records) == 80
    tables = iterate(tmp_path, shards_from_json(records, tmp_path))
    assert [row for table in tables for row in table["row"].to_pylist()] == list(range(80))
