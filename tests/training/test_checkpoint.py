"""Checkpoints: the newest whole one is found, older ones go, a damaged one is told."""

from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.training.checkpoint import newest_checkpoint, newest_step, save_checkpoint


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


def test_a_damaged_checkpoint_is_a_user_error_that_names_it(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 5, {"a": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"step-000000005\.safetensors cannot be read"):
        newest_checkpoint(tmp_path)


def test_the_newest_step_is_known_without_reading_a_checkpoint(tmp_path: Path) -> None:
    assert newest_step(tmp_path / "nowhere") == 0
    for step in (2, 10, 4):
        (tmp_path / f"step-{step:09d}.safetensors").write_bytes(b"damaged")
    (tmp_path / ".step-000000099.safetensors.tmp-01234567").touch()
    assert newest_step(tmp_path) == 10
