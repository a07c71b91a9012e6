"""A shard by the whole stack, and by a worker a stage: the same file, byte for byte."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from small_stack import small_stack

from pipeline.formats.shard import images_of
from pipeline.sampling import SamplingOptions, sample
from pipeline.sampling.labels import InTurn, captions_in_turn
from pipeline.sampling.plan import ConditionPlan
from pipeline.sampling.workers import SampleJob, StackWorker, StageWorker
from pipeline.stack import Stack, save_stack

SHARD: dict[str, Any] = {
    "index": 1,
    "file": "part-00001.parquet",
    "start": 7,
    "stop": 18,  # one call of six rows and one that is padded
    "num_rows": 11,
}
SEED = 11


def job(tmp_path: Path, network: str, labels: ConditionPlan, name: str = "set") -> SampleJob:
    model = tmp_path / "model"
    if not model.exists():
        save_stack(small_stack(network=network), {}, model, {})
    return SampleJob(model, tmp_path / name, SEED, labels, SamplingOptions(sampler="dpmpp_2m"))


def through_stages(told: SampleJob) -> dict[str, Any]:
    carry = None
    for stage in (0, 1):
        carry = StageWorker(told, stage)(SHARD, carry)
    assert carry is not None
    return carry


@pytest.mark.parametrize("network", ["nested", "stage"])
def test_stage_workers_in_a_chain_write_the_whole_workers_bytes(
    tmp_path: Path, network: str
) -> None:
    labels = InTurn((2, -1, 0))
    whole, staged = job(tmp_path, network, labels), job(tmp_path, network, labels, "staged")
    record = StackWorker(whole)(SHARD)
    assert through_stages(staged) == record
    written = (whole.output / SHARD["file"]).read_bytes()
    assert (staged.output / SHARD["file"]).read_bytes() == written


def test_a_shard_holds_what_sample_draws_for_its_rows(tmp_path: Path) -> None:
    told = job(tmp_path, "nested", InTurn((2, -1, 0)))
    record = StackWorker(told)(SHARD)
    table = pq.read_table(told.output / SHARD["file"])
    assert record["num_rows"] == table.num_rows == 11
    indices = np.arange(7, 18)
    assert table.column("sample_index").to_pylist() == indices.tolist()
    labels = np.array([2, -1, 0])[indices % 3]
    assert table.column("label").to_pylist() == labels.tolist()
    expected = sample(Stack.load(told.model), np.full(11, SEED), indices, labels, told.options)
    np.testing.assert_array_equal(images_of(table), expected)
    assert "caption" not in table.column_names


def test_captions_stand_beside_the_labels_that_they_name(tmp_path: Path) -> None:
    plan = captions_in_turn(("Two", "zero"), ("zero", "one", "two"), "--captions")
    told = job(tmp_path, "stage", plan)
    through_stages(told)
    table = pq.read_table(told.output / SHARD["file"])
    assert table.column("caption").to_pylist()[:3] == ["zero", "Two", "zero"]
    assert table.column("label").to_pylist()[:3] == [0, 2, 0]


def test_between_stages_go_float32_levels_of_the_next_resolution(tmp_path: Path) -> None:
    carry = StageWorker(job(tmp_path, "nested", InTurn((0,))), 0)(SHARD, None)
    assert list(carry) == ["z"]
    assert (carry["z"].dtype, carry["z"].shape) == (np.float32, (11, 1, 8, 8))


def test_a_worker_takes_the_threads_that_it_was_promised(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        StackWorker(job(tmp_path, "nested", InTurn((0,))))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
