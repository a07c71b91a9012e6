"""Workers that share a batch, each in a process of its own, without Ray: a process group and DDP.

Their processes are forks of one that has imported torch and the jobs, once for all tests here.
"""

import multiprocessing
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["jobs.train_stack", "jobs.train_classifier", "torch._dynamo"])


def run_ranks(
    loop: Callable[[dict[str, Any]], None], loop_config: dict[str, Any], num: int, scratch: Path
) -> None:
    """Runs ``loop(loop_config)`` on each of ``num`` ranks, as Ray Train does on its workers."""
    scratch.mkdir(parents=True, exist_ok=True)
    meeting = scratch / "meeting"
    ranks = [
        _SERVER.Process(target=_run_rank, args=(loop, loop_config, rank, num, meeting))
        for rank in range(num)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    meeting.unlink(missing_ok=True)
    assert [rank.exitcode for rank in ranks] == [0] * num, _said(meeting, num)


def _run_rank(
    loop: Callable[[dict[str, Any]], None],
    loop_config: dict[str, Any],
    rank: int,
    num: int,
    meeting: Path,
) -> None:
    import ray.train.torch
    import torch
    from in_this_process import read_here

    import jobs.common.stream

    torch.set_num_threads(1)
    context = SimpleNamespace(get_world_rank=lambda: rank, get_world_size=lambda: num)
    ray.train.get_context = lambda: context
    ray.train.report = lambda _: None
    ray.train.torch.get_device = lambda: torch.device("cpu")
    ray.train.torch.prepare_model = torch.nn.parallel.DistributedDataParallel
    jobs.common.stream.read_split = read_here
    try:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=num
        )
        loop(loop_config)
        torch.distributed.destroy_process_group()
    except BaseException:
        meeting.with_name(f"failed {rank}").write_text(traceback.format_exc())
        raise


def _said(meeting: Path, num: int) -> str:
    files = [meeting.with_name(f"failed {rank}") for rank in range(num)]
    return "\n".join(file.read_text() for file in files if file.exists())
