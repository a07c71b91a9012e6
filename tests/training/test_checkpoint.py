"""Checkpoints: the newest whole one is found, by all workers the same; older ones go."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import UserError
from pipeline.training import checkpoint
from pipeline.training.checkpoint import (
    damaged_checkpoints,
    newest_checkpoint,
    newest_step,
    resume_together,
    save_checkpoint,
)


def test_the_newest_checkpoint_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(tmp_path, 9, {"a": torch.zeros(1)})
    save_checkpoint(tmp_path, 10, {"a": shared, "view": shared.t(), "step": torch.tensor(10.0)})
    found = newest_checkpoint(tmp_path)
    assert found is not None
    step, tensors = found
    assert step == 10
    assert torch.equal(tensors["a"], shared)
    assert torch.equal(tensors["view"], shared.t())
    assert tensors["step"].shape == ()


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 30, 4):
        save_checkpoint(tmp_path, step, {"a": torch.tensor(float(step))}, keep=2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "step-000000004.safetensors",
        "step-000000030.safetensors",
    ]


def test_no_checkpoint_is_none_and_unfinished_files_are_not_seen(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "absent") is None
    (tmp_path / ".step-000000007.safetensors.tmp-00000000").write_bytes(b"half")
    assert newest_checkpoint(tmp_path) is None


def damage(path: Path, length: int = 50) -> Path:
    path.write_bytes(path.read_bytes()[:length])
    return path


@pytest.mark.parametrize("length", [0, 4, 50, -1])
def test_a_damaged_newest_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, length: int
) -> None:
    save_checkpoint(tmp_path, 4, {"a": torch.ones(100)})
    damage(save_checkpoint(tmp_path, 5, {"a": torch.zeros(100)}), length)
    step, tensors = newest_checkpoint(tmp_path) or (0, {})
    assert (step, newest_step(tmp_path)) == (4, 4)
    assert torch.equal(tensors["a"], torch.ones(100))


def test_damaged_checkpoints_alone_are_a_user_error_that_names_one(tmp_path: Path) -> None:
    damage(save_checkpoint(tmp_path, 5, {"a": torch.zeros(100)}))
    with pytest.raises(UserError, match=r"step-000000005\.safetensors cannot be read"):
        newest_checkpoint(tmp_path)


def test_the_newest_step_is_known_without_reading_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert newest_step(tmp_path / "nowhere") == 0
    for step in (2, 10, 4):
        save_checkpoint(tmp_path, step, {"a": torch.zeros(100)}, keep=3)
    (tmp_path / ".step-000000099.safetensors.tmp-01234567").touch()
    monkeypatch.setattr(Path, "read_bytes", None)
    assert newest_step(tmp_path) == 10


class ThreadRanks:
    """Workers that are threads of this process, each with its own view of the checkpoints."""

    def __init__(self, rank: int, given: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self._given, self._barrier = rank, given, barrier

    def of_all(self, value: Any) -> list[Any]:
        self._given[self.rank] = value
        self._barrier.wait(timeout=30)
        values = list(self._given)
        self._barrier.wait(timeout=30)
        return values

    def from_first(self, value: Any) -> Any:
        return self.of_all(value)[0]


def resumed(*views: Path) -> list[tuple[int, float] | str]:
    """Of each worker the step and the value that it goes on from, or why it does not."""
    given, barrier = [None] * len(views), threading.Barrier(len(views))

    def resume(rank: int) -> tuple[int, float] | str:
        try:
            found = resume_together(views[rank], ThreadRanks(rank, given, barrier))
        except UserError as error:
            return str(error)
        return (0, 0.0) if found is None else (found[0], float(found[1]["a"]))

    with ThreadPoolExecutor(len(views)) as threads:
        return list(threads.map(resume, range(len(views))))


def save(directory: Path, step: int, value: float) -> Path:
    return save_checkpoint(directory, step, {"a": torch.tensor(value)})


@pytest.fixture
def views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three workers' views of one folder, which holds a checkpoint of step 10."""
    monkeypatch.setattr(checkpoint, "_PATIENCE_SECONDS", 0.05)
    paths = [tmp_path / str(rank) for rank in range(3)]
    for path in paths:
        save(path, 10, 1.0)
    return paths


def test_workers_go_on_from_what_the_first_sees_whatever_they_see(views: list[Path]) -> None:
    save(views[0], 20, 2.0)
    save(views[1], 20, 2.0)
    save(views[1], 30, 3.0)  # of a host that was cut off
    late = threading.Timer(0.02, save, (views[2], 20, 2.0))  # a listing that lags behind
    late.start()
    assert resumed(*views) == [(20, 2.0)] * 3


@pytest.mark.parametrize(
    ("there", "told"), [(None, "cannot be read"), (2.5, "has another content")]
)
def test_a_worker_that_does_not_see_what_the_first_chose_ends_all_in_one_line(
    views: list[Path], there: float | None, told: str
) -> None:
    save(views[0], 20, 2.0)
    save(views[1], 20, 2.0)
    if there is not None:
        save(views[2], 20, there)
    first, second, third = resumed(*views)
    assert first == second == third
    assert re.search(rf"step-000000020\.safetensors.* {told}.* for worker 2 on ", str(first))
    assert "\n" not in str(first)


def test_all_go_on_from_the_one_before_a_damaged_one_which_is_set_aside(tmp_path: Path) -> None:
    save(tmp_path, 10, 1.0)
    path = damage(save(tmp_path, 20, 2.0))
    assert resumed(tmp_path, tmp_path) == [(10, 1.0)] * 2
    assert damaged_checkpoints(tmp_path) == [path.with_name(f"{path.name}.damaged")]
    assert not path.exists()


def test_where_none_can_be_read_all_workers_end_in_one_line(tmp_path: Path) -> None:
    damage(save(tmp_path, 20, 2.0))
    first, second = resumed(tmp_path, tmp_path)
    assert first == second
    assert "nor any other there; delete them to begin anew" in str(first)


def test_without_a_checkpoint_all_workers_begin_at_the_start(views: list[Path]) -> None:
    (views[0] / "step-000000010.safetensors").unlink()
    assert resumed(*views) == [(0, 0.0)] * 3
