"""What a cluster can never give is refused in one line; what is waited for is said."""

import io
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from small_stack import SPEC

from jobs.common.pools import Pool
from jobs.common.row_ranges import RowRanges
from jobs.common.sharded import run_shards
from jobs.common.training import Workers, run_training
from jobs.generate.config import GenerateConfig
from jobs.generate.pools import make_pools
from noisestack import resources
from noisestack.resources import Demand, Supply, Waiting, refuse_impossible
from noisestack.session import ray_session
from pipeline.errors import UserError

HEAD, GPU_NODE = {"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}


@pytest.mark.parametrize(
    "demands",
    [
        [Demand(1, 1, 1)],  # no GPU at all
        [Demand(1, 5)],  # more CPUs than a node has, fewer than all together
        [Demand(5, 2)],
        [Demand(3, 1), Demand(6, 1)],  # each alone would fit
        [Demand(1, 1, 0.25)],
    ],
)
def test_what_never_fits_is_refused_with_what_is_there(demands: list[Demand]) -> None:
    with pytest.raises(UserError, match="the cluster has 8 CPUs and 0 GPUs, on one node at most 4"):
        refuse_impossible(demands, Supply([HEAD, HEAD]))


@pytest.mark.parametrize(
    "demands",
    [[Demand(4, 2)], [Demand(8, 1)], [Demand(2, 3)], [Demand(1, 4), Demand(4, 1)], [Demand(9, 0)]],
)
def test_what_fits_the_nodes_is_not_refused(demands: list[Demand]) -> None:
    refuse_impossible(demands, Supply([HEAD, HEAD]))


def test_workers_that_leave_parts_of_nodes_empty_are_counted_node_by_node() -> None:
    with pytest.raises(UserError, match="3 workers need 3 CPUs and 0 GPUs each"):
        refuse_impossible([Demand(3, 3)], Supply([{"CPU": 5.0}, {"CPU": 5.0}]))


def test_parts_of_a_gpu_add_up_and_whole_ones_stay_whole() -> None:
    refuse_impossible([Demand(10, 0, 0.1)], Supply([{"CPU": 1.0, "GPU": 1.0}]))
    with pytest.raises(UserError, match="11 workers"):
        refuse_impossible([Demand(11, 0, 0.1)], Supply([{"CPU": 1.0, "GPU": 1.0}]))
    with pytest.raises(UserError, match="given whole"):
        refuse_impossible([Demand(1, 0, 1.5)], Supply([GPU_NODE]))


def test_nodes_that_an_autoscaler_may_start_count() -> None:
    refuse_impossible([Demand(6, 1, 1)], Supply([HEAD], [(GPU_NODE, 3)]))
    with pytest.raises(UserError, match="the cluster has 28 CPUs and 6 GPUs"):
        refuse_impossible([Demand(7, 1, 1)], Supply([HEAD], [(GPU_NODE, 3)]))
    with pytest.raises(UserError):
        refuse_impossible([Demand(1, 1, 1)], Supply([HEAD], [(GPU_NODE, 0)]))
    # What it may start is not known: it is waited for.
    refuse_impossible([Demand(64, 1, 8)], Supply([HEAD], is_final=False))


@pytest.mark.parametrize(
    ("status", "scaled"),
    [
        (None, True),  # the newer autoscaler tells nothing there
        (b'{"autoscaler_report": {"active_nodes": {"node_0123abcd": 1, "node_4567": 1}}}', False),
        (b'{"autoscaler_report": {"active_nodes": {"ray.head.default": 1}}}', True),
        (b"{}", True),
    ],
)
def test_an_autoscaler_is_known_by_what_it_calls_the_nodes(
    monkeypatch: pytest.MonkeyPatch, status: bytes | None, scaled: bool
) -> None:
    told = SimpleNamespace(_internal_kv_get=lambda _: status)
    monkeypatch.setattr(resources, "internal_kv", told)
    assert resources._may_be_scaled() is scaled


def test_what_is_waited_for_is_said_again_and_again_until_it_is_there() -> None:
    said = io.StringIO()
    has = {"CPU": 8.0, "GPU": 1.0, "memory": 1e9}, {"CPU": 7.0}
    with Waiting(
        "train", [Demand(2, 1, 1)], every=0.01, stream=said, state_of_cluster=lambda: has
    ) as waiting:
        while said.getvalue().count("\n") < 2:
            time.sleep(0.005)
        waiting.over()
        time.sleep(0.03)
        lines = said.getvalue().splitlines()
        time.sleep(0.05)
    assert said.getvalue().splitlines() == lines
    assert re.fullmatch(
        "train: no result yet after 0 s; 2 workers need 1 CPU and 1 GPU each; the "
        "cluster has 8 CPUs and 1 GPU, of which 7 CPUs and 0 GPUs free",
        lines[0],
    )


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Waiting("x", [Demand(1, 1)]):
        pass
    assert capsys.readouterr() == ("", "")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_no_command_waits_for_a_gpu_that_a_machine_does_not_have(tmp_path: Path) -> None:
    assert not ray.cluster_resources().get("GPU")
    start = time.monotonic()
    config = GenerateConfig(model=tmp_path, output=tmp_path / "out", gpus_per_worker=1)
    told = "1 GPU( each)?, and the cluster has 8 CPUs and 0 GPUs"
    with pytest.raises(UserError, match=told):
        make_pools(config, SPEC, None)
    with pytest.raises(UserError, match=told):
        run_shards(Pool(dict, {}, None, 1, 1), RowRanges(4, 2), tmp_path, describe="x")
    for workers in (Workers(2, use_gpu=True), Workers((1, 3), use_gpu=True), Workers(0, True)):
        with pytest.raises(UserError, match=told):
            run_training(print, {}, output=tmp_path, workers=workers, progress=str)
    with pytest.raises(UserError, match="9 workers need 1 CPU and 0 GPUs each"):
        run_training(print, {}, output=tmp_path, workers=Workers(9), progress=str)
    assert time.monotonic() - start < 10


def test_a_ray_that_starts_too_late_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ray 2.60 says it, beside much other work."""

    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr("ray.init", late)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    late_start = "did not start within 30 s: this machine is busy"
    with pytest.raises(UserError, match=late_start), ray_session():
        pass
