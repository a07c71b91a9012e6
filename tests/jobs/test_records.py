"""Records: what counts as finished, and all of them in order without holding them in memory."""

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pytest
from numbers_worker import Numbers, shards

from jobs.common.records import (
    finished_record,
    forget_attempts,
    gather,
    record_path,
    remove_records,
)
from jobs.common.shard_runner import write_record
from pipeline.formats.output import read_json, write_json
from pipeline.formats.shard import write_shard


def make(output: Path, count: int) -> None:
    worker = Numbers(output)
    for shard in shards(count):
        write_record(output, shard, worker(shard))


@pytest.mark.parametrize("damage", ["no file", "shorter", "other bytes", "record", "rows", "index"])
def test_a_shard_whose_file_or_record_was_damaged_is_not_finished(
    tmp_path: Path, damage: str
) -> None:
    (shard,) = shards(1)
    make(tmp_path, 1)
    assert finished_record(tmp_path, shard) is not None
    file, place = tmp_path / shard["file"], record_path(tmp_path, shard)
    content = file.read_bytes()
    match damage:
        case "no file":
            file.unlink()
        case "shorter":
            file.write_bytes(content[:-1])
        case "other bytes":
            file.write_bytes(content[:-1] + b"x")
        case "record":
            place.write_text("{")
        case "rows":
            shard["num_rows"] += 1
        case "index":
            write_json(place, {**read_json(place), "index": 1})
    assert finished_record(tmp_path, shard) is None


def test_a_record_of_several_files_needs_all_of_them(tmp_path: Path) -> None:
    (shard,) = shards(1)
    files = [
        asdict(write_shard(pa.table({"row": range(5)}), tmp_path, f"{name}.parquet"))
        for name in ("a", "b")
    ]
    write_record(tmp_path, shard, {"num_rows": 10, "files": files})
    assert finished_record(tmp_path, shard) is not None
    (tmp_path / "b.parquet").unlink()
    assert finished_record(tmp_path, shard) is None


def test_all_records_come_in_order_by_number_and_by_iteration(tmp_path: Path) -> None:
    make(tmp_path, 12)
    records = gather(tmp_path, shards(12))
    assert len(records) == 12
    assert [record["extra"] for record in records] == [45 + 100 * index for index in range(12)]
    assert list(records) == [records[index] for index in range(12)] == records[:]
    assert records[-1]["index"] == 11
    with pytest.raises(IndexError):
        records[12]


@pytest.mark.parametrize("damage", ["no record", "rows", "index"])
def test_a_shard_that_did_not_come_back_is_named(tmp_path: Path, damage: str) -> None:
    make(tmp_path, 3)
    place = record_path(tmp_path, shards(3)[1])
    if damage == "no record":
        place.unlink()
    else:
        key = "num_rows" if damage == "rows" else "index"
        write_json(place, {**read_json(place), key: 2})
    with pytest.raises(RuntimeError, match="shard 1 did not come back whole"):
        gather(tmp_path, shards(3))


def test_records_lie_a_thousand_in_a_folder() -> None:
    places = [record_path(Path("out"), shard) for shard in shards(2001)]
    assert str(places[0]) == "out/records/00000/part-00000.json"
    assert str(places[999]) == "out/records/00000/part-00999.json"
    assert str(places[2000]) == "out/records/00002/part-02000.json"


def test_counted_attempts_are_forgotten_and_records_kept(tmp_path: Path) -> None:
    make(tmp_path, 1)
    place = record_path(tmp_path, shards(1)[0])
    place.with_suffix(".0.attempts").write_bytes(b"...")
    forget_attempts(tmp_path)
    assert list(place.parent.iterdir()) == [place]
    remove_records(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["part-00000.parquet"]
