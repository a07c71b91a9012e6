"""Batch jobs whose shards stand in the set exactly once: rows through pools of Ray Data actors.

A shard is one call of a worker (or of one worker of each pool in a chain) and one file (or a few).
When its file is in place, a small JSON record with the file's hash is written under `records/`; a
shard whose record and file agree is finished and never done again. So the same command resumes
after a kill, and a shard that Ray runs twice is written twice with the same bytes, each time by one
rename.

The driver holds nothing of a shard: rows carry its number out and its outcome back.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data

from jobs.common.pools import Pool, pool_sizes
from jobs.common.progress import Progress
from jobs.common.records import (
    Records,
    ShardSpec,
    counted_in,
    forget_attempts,
    gather,
    stop_path,
)
from jobs.common.shard_runner import ALREADY_DONE, DONE, FAILED, NUMBER, ShardRunner
from noisestack.resources import Waiting, require
from pipeline.errors import UserError
from pipeline.formats.output import sweep_temporary

# Ray Data's driver keeps about 8 kB of each block that it ever saw: with a block a shard, 80 MB for
# 10,000 shards. So a block is a run of shards, and their number has a bound.
_BLOCKS = 1024
_BLOCKS_A_WORKER = 16  # the last runs of a job leave at most a sixteenth of the workers idle
_CARRIES_A_BLOCK = 8  # the carries of a block are in one actor's memory at once


def run_shards(
    pools: Pool | Sequence[Pool],
    shards: Sequence[ShardSpec],
    output_dir: Path | str,
    *,
    describe: str,
    unit: str = "rows",
    counted: str | None = None,
) -> Records:
    """Runs every shard that is not finished yet, and returns all records in the order of `shards`.

    Raises UserErrors of the workers as they are, and a UserError when the cluster can never give
    the CPUs or GPUs that one worker of each pool needs; RuntimeError when a shard lacks rows or is
    not there.

    Args:
        pools: one pool, whose worker(shard) writes the shard's file (`pipeline.formats.shard
            .write_shard`) into `output_dir` and returns its record: file, num_rows, sha256,
            num_bytes (the fields of `Shard`) and whatever JSON-able it adds. A worker that writes
            several files returns num_rows and "files", a list of such entries. One that left rows
            out counts them in num_quarantined, and lists the files that hold them under
            "quarantine". What it needs to know of `output_dir` it is told in its `worker_args`. It
            must give the same bytes each time it is run. Or a chain of pools: each worker(shard,
            carry) gets the arrays that the one before returned, by name (None in the first pool),
            and returns arrays for the next; the last one writes the file and returns the record.
        shards: JSON-able, in order of their index, 0 to N - 1, each with file (unique, names the
            record) and num_rows; a `RowRanges` where there may be many.
        describe: the words at the head of each line of progress.
        unit, counted: what a row is called there; a number in the records whose sum is told, too.
    """
    chain = [pools] if isinstance(pools, Pool) else list(pools)
    output_dir = Path(output_dir).absolute()
    require(*(demands := [pool.demand for pool in chain]))
    sweep_temporary(output_dir)
    forget_attempts(output_dir)
    stop_path(output_dir).unlink(missing_ok=True)
    progress = Progress(describe, _num_rows(shards), unit=unit, counted=counted)
    failure: UserError | OSError | None = None
    try:
        with Waiting(describe, demands) as waiting:
            for row in _outcomes(chain, shards, output_dir).iter_rows() if shards else ():
                waiting.over()
                if row["outcome"] in (DONE, ALREADY_DONE):
                    shard, earlier = shards[row[NUMBER]], row["outcome"] != DONE
                    count = counted_in(output_dir, shard, counted)
                    progress.add(_num_rows([shard]), earlier=earlier, count=count)
                elif row["outcome"] == FAILED:
                    failure = failure or _failure(row)
    except BaseException:
        # Ray kills the actors, at once but not before it says so: look again for their files.
        for _ in range(5):
            sweep_temporary(output_dir)
            time.sleep(0.2)
        raise
    finally:
        stop_path(output_dir).unlink(missing_ok=True)
    sweep_temporary(output_dir)  # an actor that was killed in a shard left its half of a file
    if failure is not None:
        raise failure
    return gather(output_dir, shards)


def _outcomes(
    chain: Sequence[Pool], shards: Sequence[ShardSpec], output_dir: Path
) -> ray.data.Dataset:
    """A row for each shard, with what became of it; see `ShardRunner`.

    The source is a handful of numbers in the object store and runs no tasks: they would wait for
    the CPUs that the pools hold.
    """
    sizes = pool_sizes(chain, ray.cluster_resources())  # type: ignore[no-untyped-call]
    dataset: ray.data.Dataset = ray.data.from_items(
        range(len(shards)),  # type: ignore[arg-type]  # any sequence; a list would hold 36 B a shard
        override_num_blocks=num_blocks(len(shards), sizes),
    )
    for stage, (pool, size) in enumerate(zip(chain, sizes, strict=True)):
        first, most = min(size, len(shards)), min(pool.num_workers or size, len(shards))
        dataset = dataset.map(
            ShardRunner,  # type: ignore[arg-type]  # Ray Data builds one in each actor
            fn_constructor_args=(
                pool.worker_class,
                dict(pool.worker_args),
                shards,
                output_dir,
                stage,
                len(chain),
            ),
            # Ready actors for what fits now; more if an autoscaling cluster grows. Two runs in
            # flight keep an actor busy and leave the tail of the job evenly spread.
            compute=ray.data.ActorPoolStrategy(
                min_size=first, max_size=max(first, most), max_tasks_in_flight_per_actor=2
            ),
            num_cpus=pool.cpus_per_worker,
            num_gpus=pool.gpus_per_worker or None,
        )
    dataset.context.enable_progress_bars = False
    # One block a task, however large: a task that Ray runs again, because a node took its blocks
    # along, finds shards finished and must still give as many blocks as at first.
    dataset.context.target_max_block_size = None
    return dataset


def num_blocks(num_shards: int, sizes: Sequence[int]) -> int:
    """How many runs of consecutive shards a job is cut into, for pools of these sizes."""
    most = max(_BLOCKS, _BLOCKS_A_WORKER * max(sizes))
    if len(sizes) > 1:
        most = max(most, -(-num_shards // _CARRIES_A_BLOCK))
    return min(num_shards, most)


def _num_rows(shards: Sequence[ShardSpec]) -> int:
    return sum(int(shard["num_rows"]) for shard in shards)


def _failure(row: Mapping[str, Any]) -> UserError | OSError:
    return OSError(row["errno"], row["error"]) if row["errno"] else UserError(row["error"])
