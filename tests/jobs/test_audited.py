"""One pass where no alarm goes off, else a second one that a stop does not send back."""

from pathlib import Path
from typing import Any

import pytest

from jobs.common.records import Record, Records, gather, record_path
from jobs.common.row_ranges import RowRanges
from jobs.perturb.audited import run_audited
from pipeline.formats.output import write_json


class Stopped(Exception):
    """The job was killed."""


class Job:
    """Writes a file a shard, and a record that says how many of its rows an alarm broke."""

    def __init__(self, directory: Path, alarming: dict[int, int]) -> None:
        self.directory, self.alarming = directory, alarming
        self.passes: list[bool] = []
        self.stops_in_the_second = False

    def __call__(self, shards: RowRanges, widened: bool) -> Records:
        self.passes.append(widened)
        if widened and self.stops_in_the_second:
            raise Stopped
        for shard in shards:
            (self.directory / shard["file"]).write_text(str(widened))
            write_json(record_path(self.directory, shard), self._record(shard, widened))
        return gather(self.directory, shards)

    def _record(self, shard: dict[str, Any], widened: bool) -> Record:
        alarming = self.alarming.get(shard["index"], 0) + widened
        return {**shard, "alarming": alarming, "audited": 2, "overturned": 1}

    def run(self) -> tuple[list[Record], Record | None, list[str]]:
        records, sample = run_audited(self, 10, 4, self.directory)
        files = sorted(path.name for path in self.directory.glob("*.parquet"))
        return list(records), sample, files


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "records" / "00000").mkdir(parents=True)
    return tmp_path


def test_where_no_alarm_goes_off_there_is_one_pass_whatever_was_overturned(directory: Path) -> None:
    job = Job(directory, {})
    records, sample, files = job.run()
    assert job.passes == [False]
    assert sample is None
    assert files == [f"part-0000{n}.parquet" for n in range(3)]
    assert [record["alarming"] for record in records] == [0, 0, 0]


def test_one_alarm_has_every_shard_made_anew_and_the_first_files_removed(
    directory: Path,
) -> None:
    job = Job(directory, {1: 2})
    records, sample, files = job.run()
    assert job.passes == [False, True]
    assert sample == {"alarming": 2, "audited": 6, "overturned": 3}
    assert files == [f"widened-0000{n}.parquet" for n in range(3)]
    assert [record["alarming"] for record in records] == [1, 3, 1]


def test_a_job_that_is_stopped_in_the_second_pass_goes_on_there(directory: Path) -> None:
    job = Job(directory, {2: 1})
    job.stops_in_the_second = True
    with pytest.raises(Stopped):
        job.run()
    job.stops_in_the_second = False
    _, sample, files = job.run()
    assert job.passes == [False, True, True]
    assert sample == {"alarming": 1, "audited": 6, "overturned": 3}
    assert files == [f"widened-0000{n}.parquet" for n in range(3)]
