"""What `run_shards` does, without Ray: one worker in this process, the last shard first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.common.pools import Pool
from jobs.common.records import finished_record
from jobs.common.shard_runner import write_record


def in_this_process(
    pool: Pool, shards: Sequence[dict[str, Any]], output: Path, **_: Any
) -> list[dict[str, Any]]:
    worker = pool.worker_class(**pool.worker_args)

    def record(shard: dict[str, Any]) -> dict[str, Any]:
        return finished_record(output, shard) or write_record(output, shard, worker(shard))

    return [record(shard) for shard in reversed(shards)][::-1]
