"""What a job knows of its finished shards: a small JSON record each, on the disk and nowhere else.

records/00000/part-00000.json   the record of a shard, in a folder for each 1,000 shards
records/all.jsonl               all of them in order, a line each, once every shard is finished
"""

import json
import shutil
from array import array
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

from pipeline.errors import UserError
from pipeline.formats.output import atomic_path, read_json, sha256_of_file

RECORDS = "records"
ALL = "all.jsonl"
ATTEMPTED = ".attempts"  # ending of the files that count attempts, beside the record
STOP = "stop"  # file among the records that tells all workers to stop

# Listing one folder of 100,000 records takes a shared file system seconds, each time it is asked.
_SHARDS_A_FOLDER = 1000
_READ_AT_ONCE = 1024
_READERS = 8  # reading small files waits for the disk, or for the network

ShardSpec = Mapping[str, Any]
Record = dict[str, Any]


def record_path(output_dir: Path, shard: ShardSpec) -> Path:
    """Where a shard's record stands: its file's name with the ending .json, below `records/`."""
    folder = f"{shard['index'] // _SHARDS_A_FOLDER:05d}"
    return output_dir / RECORDS / folder / Path(shard["file"]).with_suffix(".json").name


def stop_path(output_dir: Path) -> Path:
    """The file that tells all workers to stop."""
    return output_dir / RECORDS / STOP


def finished_record(output_dir: Path, shard: ShardSpec) -> Record | None:
    """The shard's record, if it is there and each file it lists has its recorded size and hash."""
    try:
        record = _read(output_dir, shard)
        for entry in [*record.get("files", [record]), *record.get("quarantine", [])]:
            file = output_dir / entry["file"]
            if file.stat().st_size != entry["num_bytes"] or sha256_of_file(file) != entry["sha256"]:
                return None
    except (RuntimeError, OSError, KeyError, TypeError, AttributeError):
        return None
    return record


def counted_in(output_dir: Path, shard: ShardSpec, name: str | None) -> int:
    """A number in a shard's record, for progress alone; 0 where none is asked for, or is there."""
    if name is None:
        return 0
    try:
        return int(_read(output_dir, shard)[name])
    except (RuntimeError, OSError, KeyError, TypeError, ValueError):
        return 0


def check_counts(record: Mapping[str, Any], shard: ShardSpec) -> None:
    """Raises RuntimeError unless read = written + quarantined, for the shard as for its files.

    A record has num_rows, and may have num_quarantined (else 0), several files with num_rows, and
    those of the rows that were set aside, under quarantine.
    """
    written = int(record["num_rows"])
    quarantined = int(record.get("num_quarantined", 0))
    in_files = sum(int(entry["num_rows"]) for entry in record.get("files", [record]))
    set_aside = sum(int(entry["num_rows"]) for entry in record.get("quarantine", []))
    if "quarantine" in record and set_aside != quarantined:
        raise RuntimeError(
            f"shard {shard['index']} counts {quarantined} rows as quarantined and its files of "
            f"these hold {set_aside}"
        )
    if in_files != written or written + quarantined != shard["num_rows"]:
        raise RuntimeError(
            f"shard {shard['index']} should have {shard['num_rows']} rows and has {written}, "
            f"{in_files} of them in its files, and {quarantined} quarantined"
        )


class Records(Sequence[Record]):
    """The records of all shards in order, read from the disk whenever they are asked for.

    In memory is 8 bytes a shard. Of no use any more after `remove_records`.
    """

    def __init__(self, path: Path, offsets: "array[int]") -> None:
        self._path, self._offsets = path, offsets

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        with open(self._path, "rb") as stream:
            stream.seek(self._offsets[index])
            return dict(json.loads(stream.readline()))

    def __iter__(self) -> Iterator[Record]:
        with open(self._path, "rb") as stream:
            for line in stream:
                yield json.loads(line)


def gather(output_dir: Path, shards: Sequence[ShardSpec]) -> Records:
    """Writes the records of all shards into one file, in their order, and opens it.

    Ray Data can lose blocks without an error, so what counts is what stands on the disk: raises
    RuntimeError when a shard has no record, or one with other counts.
    """
    offsets, position = array("q"), 0
    with (
        atomic_path(output_dir / RECORDS / ALL) as temporary,
        open(temporary, "wb") as stream,
        ThreadPoolExecutor(_READERS) as threads,
    ):
        for first in range(0, len(shards), _READ_AT_ONCE):
            part = [shards[n] for n in range(first, min(first + _READ_AT_ONCE, len(shards)))]
            for record in threads.map(lambda shard: _read_finished(output_dir, shard), part):
                offsets.append(position)
                position += stream.write(json.dumps(record).encode() + b"\n")
    return Records(output_dir / RECORDS / ALL, offsets)


def forget_attempts(output_dir: Path) -> None:
    """Removes what counts attempts: a command that is given again may try as often again."""
    for counter in (output_dir / RECORDS).glob(f"*/*{ATTEMPTED}"):
        counter.unlink(missing_ok=True)


def remove_records(output_dir: Path | str) -> None:
    """Removes the records, once the manifest that replaces them is written."""
    shutil.rmtree(Path(output_dir) / RECORDS, ignore_errors=True)


def _read_finished(output_dir: Path, shard: ShardSpec) -> Record:
    try:
        return _read(output_dir, shard)
    except RuntimeError as error:
        raise RuntimeError(f"shard {shard['index']} did not come back whole: {error}") from None


def _read(output_dir: Path, shard: ShardSpec) -> Record:
    """A shard's record. Raises RuntimeError when it is not there, or is not this shard's."""
    try:
        record = read_json(record_path(output_dir, shard))
        if record["index"] != shard["index"]:
            raise RuntimeError(f"its record is that of shard {record['index']}")
        check_counts(record, shard)
    except (UserError, KeyError, TypeError, AttributeError) as error:
        raise RuntimeError(str(error)) from None
    return dict(record)
