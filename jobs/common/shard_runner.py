"""The actor's side of a batch job: one worker, and each shard that is not finished."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.common import carry
from jobs.common.records import (
    ATTEMPTED,
    Record,
    ShardSpec,
    check_counts,
    finished_record,
    record_path,
    stop_path,
)
from noisestack.errors import is_disk_full
from pipeline.errors import UserError
from pipeline.formats.output import write_json

ATTEMPTS = 5

NUMBER = "item"  # what Ray Data calls the column of a source that holds numbers alone
# What became of a shard, in the rows that pass from pool to pool and back to the driver.
CARRIED = "carried"  # a pool has done its part; the next one goes on
DONE = "done"
ALREADY_DONE = "already done"  # by an earlier run, or by an actor that was lost since
FAILED = "failed"
STOPPED = "stopped"  # left out, because another shard failed


class ShardRunner:
    """One actor's side: builds the worker at the first shard, and does no finished one.

    A UserError and a full disk come back as data: raised, they would bury the one line that the
    user needs under the tracebacks that Ray prints. The others are asked to stop: they finish the
    shard that they are at, and answer the rest with nothing.

    Args:
        shards: all shards of the job; rows hold their numbers.
        stage, num_stages: which pool of the chain this actor belongs to.
    """

    def __init__(
        self,
        worker_class: Callable[..., Any],
        worker_args: Mapping[str, Any],
        shards: Sequence[ShardSpec],
        output_dir: Path,
        stage: int = 0,
        num_stages: int = 1,
    ) -> None:
        self._build: Callable[[], Callable[..., Any]] = lambda: worker_class(**worker_args)
        self._worker: Callable[..., Any] | None = None
        self._shards, self._output_dir = shards, output_dir
        self._stage, self._num_stages = stage, num_stages

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Does this pool's part of a shard.

        Args:
            row: the NUMBER of the shard alone, or what the pool before answered.

        Returns:
            NUMBER, outcome, carry (bytes), error and errno.
        """
        number = row[NUMBER]
        answer = {NUMBER: number, "outcome": STOPPED, "carry": b"", "error": "", "errno": 0}
        if self._stage and row["outcome"] != CARRIED:
            return row
        if stop_path(self._output_dir).exists():
            return answer
        try:
            return {**answer, **self._do(self._shards[number], row.get("carry", b""))}
        except UserError as error:
            failure: dict[str, Any] = {"error": str(error)}
        except OSError as error:
            if not is_disk_full(error):
                raise
            failure = {"error": str(error.strerror), "errno": int(error.errno or 0)}
        with contextlib.suppress(OSError):  # a full disk has no room for it either
            stop_path(self._output_dir).touch()
        return {**answer, "outcome": FAILED, **failure}

    def _do(self, shard: ShardSpec, carried: bytes) -> dict[str, Any]:
        first, last = self._stage == 0, self._stage == self._num_stages - 1
        # The last looks too: Ray runs a shard again when it lost the answer, for instance with the
        # node of the actor.
        if (first or last) and finished_record(self._output_dir, shard) is not None:
            return {"outcome": ALREADY_DONE}
        place = record_path(self._output_dir, shard)
        with _counted_attempt(place.with_suffix(f".{self._stage}{ATTEMPTED}"), place.stem):
            self._worker = self._worker or self._build()
            arguments: list[Any] = [dict(shard)]
            if self._num_stages > 1:
                arguments.append(None if first else carry.from_bytes(carried))
            result = self._worker(*arguments)
            if not last:
                return {"outcome": CARRIED, "carry": carry.to_bytes(result)}
            write_record(self._output_dir, shard, result)
        return {"outcome": DONE}


def write_record(output_dir: Path, shard: ShardSpec, result: Mapping[str, Any]) -> Record:
    """Completes a shard: writes what its worker told of it; RuntimeError when rows are missing."""
    record = {**result, "index": shard["index"]}
    check_counts(record, shard)
    write_json(record_path(output_dir, shard), record)
    return record


@contextlib.contextmanager
def _counted_attempt(counter: Path, name: str) -> Iterator[None]:
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
                f"{name} ended the process that worked on it {ATTEMPTS} times, perhaps "
                "for want of memory; take fewer workers or smaller shards"
            )
        yield
    finally:
        counter.unlink(missing_ok=True)
