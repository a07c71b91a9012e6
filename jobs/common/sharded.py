"""Batch jobs done exactly once: shards of rows on a pool of Ray Data actors, each with a record.

A shard is one call of a worker and one file (or a few). When its file is in place, a small JSON
record with the file's hash is written under `records/`; a shard whose record and file agree is
finished and never done again. So the same command resumes after a kill, and a shard that Ray runs
twice is written twice with the same bytes, each time by one rename.
"""

import contextlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
import ray.data

from jobs.common.progress import Progress
from noisestack.errors import is_disk_full
from pipeline.errors import UserError
from pipeline.formats.output import read_json, sha256_of_file, sweep_temporary, write_json

RECORDS = "records"
ATTEMPTS = 5
ATTEMPTED = ".attempts"  # ending of the file that counts them, beside the record
STOP = "stop"  # file among the records that tells all workers to stop

ShardSpec = Mapping[str, Any]
Record = dict[str, Any]
Worker = Callable[[dict[str, Any]], Record]


def run_shards(
    worker_class: Callable[..., Worker],
    worker_args: Mapping[str, Any],
    shards: Sequence[ShardSpec],
    output_dir: Path | str,
    *,
    num_workers: int | None = None,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float = 0.0,
    describe: str,
) -> list[Record]:
    """Runs every shard that is not finished yet, and returns all records in the order of `index`.

    worker_class(**worker_args) is built once in each actor; worker(shard) writes the shard's file
    (`pipeline.formats.shard.write_shard`) into `output_dir` and returns its record: file, num_rows,
    sha256, num_bytes (the fields of `Shard`) and whatever JSON-able it adds; a worker that writes
    several files returns num_rows and "files", a list of such entries. What it needs to know of
    `output_dir` it is told in `worker_args`. It must give the same bytes each time it is run.
    shards: JSON-able, with at least index (unique), file (unique, names the record) and num_rows.
    num_workers: actors at most; None for as many as the cluster holds, with one CPU kept spare.
    describe: the words at the head of each line of progress.

    Raises UserErrors of the workers as they are, and a UserError when the cluster lacks the CPUs or
    GPUs that one worker needs; RuntimeError when a record lacks rows.
    """
    output_dir = Path(output_dir).absolute()
    sweep_temporary(output_dir)
    stop = output_dir / RECORDS / STOP
    stop.unlink(missing_ok=True)
    finished = finished_records(output_dir, shards)
    pending = [dict(shard) for shard in shards if shard["index"] not in finished]
    for shard in pending:
        record_path(output_dir, shard).with_suffix(ATTEMPTED).unlink(missing_ok=True)
    total = sum(int(shard["num_rows"]) for shard in shards)
    progress = Progress(describe, total, total - sum(int(shard["num_rows"]) for shard in pending))
    if pending:
        size = pool_size(num_workers, cpus_per_worker, gpus_per_worker, ray.cluster_resources())  # type: ignore[no-untyped-call]
        first, most = min(size, len(pending)), min(num_workers or size, len(pending))
        dataset = ray.data.from_items(
            [{"shard": json.dumps(shard)} for shard in pending], override_num_blocks=len(pending)
        ).map(
            ShardRunner,  # type: ignore[arg-type]  # Ray Data builds one in each actor
            fn_constructor_args=(worker_class, dict(worker_args), output_dir),
            # Ready actors for what fits now; more if an autoscaling cluster grows. Two shards in
            # flight keep an actor busy and leave the tail of the job evenly spread.
            compute=ray.data.ActorPoolStrategy(
                min_size=first, max_size=max(first, most), max_tasks_in_flight_per_actor=2
            ),
            num_cpus=cpus_per_worker,
            num_gpus=gpus_per_worker or None,
        )
        dataset.context.enable_progress_bars = False
        failure: UserError | OSError | None = None
        try:
            for row in dataset.iter_rows():
                if row["record"]:
                    record = json.loads(row["record"])
                    finished[record["index"]] = record
                    progress.add(int(record["num_rows"]))
                elif row["error"] and failure is None:
                    failure = _failure(row)
                    with contextlib.suppress(OSError):  # a full disk has no room for it either
                        stop.touch()
        except BaseException:
            # Ray kills the actors, at once but not before it says so: look again for their files.
            for _ in range(5):
                sweep_temporary(output_dir)
                time.sleep(0.2)
            raise
        finally:
            stop.unlink(missing_ok=True)
        if failure is not None:
            raise failure
    return _complete(finished, shards)


class ShardRunner:
    """One actor's side: builds the worker at the first shard, and does each shard at most once.

    A UserError and a full disk come back as data: raised, they would bury the one line that the
    user needs under the tracebacks that Ray prints. The driver then asks the others to stop: they
    finish the shard that they are at, and answer the rest with nothing.
    """

    def __init__(
        self, worker_class: Callable[..., Worker], worker_args: dict[str, Any], output_dir: Path
    ) -> None:
        self._build: Callable[[], Worker] = lambda: worker_class(**worker_args)
        self._worker: Worker | None = None
        self._output_dir = output_dir

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        answer = {"record": "", "error": "", "errno": 0}
        if (self._output_dir / RECORDS / STOP).exists():
            return answer
        try:
            return {**answer, "record": json.dumps(self.run(json.loads(row["shard"])))}
        except UserError as error:
            return {**answer, "error": str(error)}
        except OSError as error:
            if not is_disk_full(error):
                raise
            return {**answer, "error": str(error.strerror), "errno": int(error.errno or 0)}

    def run(self, shard: dict[str, Any]) -> Record:
        """Does a shard, unless it is done, and returns its record."""
        # Ray runs a shard again when it lost the answer, for instance with the node of the actor.
        record = finished_record(self._output_dir, shard)
        if record is None:
            place = record_path(self._output_dir, shard)
            with _counted_attempt(place.with_suffix(ATTEMPTED)):
                self._worker = self._worker or self._build()
                record = {**self._worker(shard), "index": shard["index"]}
                write_json(place, record)
        return record


@contextlib.contextmanager
def _counted_attempt(counter: Path) -> Iterator[None]:
    """A byte on disk for each attempt that did not end, be it well or with an exception.

    Ray would start a worker that dies of its shard again for ever: raises UserError instead.
    """
    counter.parent.mkdir(parents=True, exist_ok=True)
    with open(counter, "ab") as stream:
        stream.write(b".")
        attempts = stream.tell()
    try:
        if attempts > ATTEMPTS:
            raise UserError(
                f"{counter.stem} ended the process that worked on it {ATTEMPTS} times, perhaps "
                "for want of memory; take fewer workers or smaller shards"
            )
        yield
    finally:
        counter.unlink(missing_ok=True)


def row_ranges(stop: int, rows_per_shard: int) -> list[dict[str, Any]]:
    """Shards that cover rows 0 to `stop`: index, file, start, stop (exclusive), num_rows."""
    return [
        {
            "index": index,
            "file": f"part-{index:05d}.parquet",
            "start": start,
            "stop": min(start + rows_per_shard, stop),
            "num_rows": min(rows_per_shard, stop - start),
        }
        for index, start in enumerate(range(0, stop, rows_per_shard))
    ]


def pool_size(
    num_workers: int | None, cpus: float, gpus: float, resources: Mapping[str, float]
) -> int:
    """How many workers to start at once: those asked for, as far as the cluster holds them now.

    One CPU is kept spare for Ray's own tasks (with none, a pool was seen to wait for ever), unless
    that left no worker at all.

    Raises UserError when not even one worker fits.
    """
    have_cpus, have_gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    if cpus > have_cpus or gpus > have_gpus:
        raise UserError(
            f"one worker needs {cpus:g} CPUs and {gpus:g} GPUs, and the cluster has "
            f"{have_cpus:g} and {have_gpus:g}; ask for less or start a larger cluster"
        )
    fits = math.inf
    if cpus:
        fits = min(fits, max(1, math.floor((have_cpus - 1) / cpus)))
    if gpus:
        fits = min(fits, math.floor(have_gpus / gpus))
    wanted = math.inf if num_workers is None else num_workers
    return max(1, int(min(fits, wanted, 4096)))


def record_path(output_dir: Path, shard: ShardSpec) -> Path:
    """Where a shard's record stands: `records/` and the shard's file with the ending .json."""
    return output_dir / RECORDS / Path(shard["file"]).with_suffix(".json")


def finished_record(output_dir: Path, shard: ShardSpec) -> Record | None:
    """The shard's record, if it is there and each file it lists has its recorded size and hash."""
    try:
        record = read_json(record_path(output_dir, shard))
        if record["index"] != shard["index"] or record["num_rows"] != shard["num_rows"]:
            return None
        for entry in record.get("files", [record]):
            file = output_dir / entry["file"]
            if file.stat().st_size != entry["num_bytes"] or sha256_of_file(file) != entry["sha256"]:
                return None
    except (UserError, OSError, KeyError, TypeError, AttributeError):
        return None
    return dict(record)


def finished_records(output_dir: Path, shards: Sequence[ShardSpec]) -> dict[int, Record]:
    """The records of all finished shards by index (hashing lets go of Python's lock: threads)."""
    if not (output_dir / RECORDS).is_dir():
        return {}
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda shard: finished_record(output_dir, shard), shards)
        return {record["index"]: record for record in found if record is not None}


def remove_records(output_dir: Path | str) -> None:
    """Removes the records, once the manifest that replaces them is written."""
    shutil.rmtree(Path(output_dir) / RECORDS, ignore_errors=True)


def _failure(row: Mapping[str, Any]) -> UserError | OSError:
    return OSError(row["errno"], row["error"]) if row["errno"] else UserError(row["error"])


def _complete(finished: Mapping[int, Record], shards: Sequence[ShardSpec]) -> list[Record]:
    """All records in order. Ray Data can lose blocks without an error: what is missing is told."""
    for shard in shards:
        record = finished.get(shard["index"])
        if record is None or record["num_rows"] != shard["num_rows"]:
            raise RuntimeError(
                f"shard {shard['index']} should have {shard['num_rows']} rows and has "
                f"{record['num_rows'] if record else 'not come back'}"
            )
    return [finished[index] for index in sorted(finished)]
