"""Claimed directories: one command, one config, and what is interrupted leaves the old results."""

import json
import os
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.formats import output
from pipeline.formats.claim import Length, claim_output
from pipeline.formats.output import read_json, write_json, write_text


def names(directory: Path) -> list[str]:
    return sorted(str(file.relative_to(directory)) for file in directory.rglob("*"))


def test_a_new_directory_holds_its_fingerprint_and_resumes_under_the_same(tmp_path: Path) -> None:
    fingerprint = {"seed": 3, "input": Path("pictures"), "shape": (8, 8)}
    with claim_output(tmp_path / "out", fingerprint) as claimed:
        assert not claimed.finished
        assert claimed.directory == claimed.path == tmp_path / "out"
        write_text(claimed.directory / "part", "1")
    with claim_output(tmp_path / "out", fingerprint) as claimed:
        assert not claimed.finished
        assert (claimed.directory / "part").read_text() == "1"
        write_json(claimed.directory / "manifest.json", {})
    with claim_output(tmp_path / "out", fingerprint) as claimed:
        assert claimed.finished


def test_another_configs_results_are_refused_by_naming_the_first_difference(
    tmp_path: Path,
) -> None:
    with claim_output(tmp_path / "out", {"a": 1, "sampler": {"name": "ddim"}, "z": 0}) as claimed:
        write_text(claimed.directory / "part", "1")
    with (
        pytest.raises(UserError, match=r'sampler\.name is "ddim" there and "heun" here.*--overw'),
        claim_output(tmp_path / "out", {"a": 1, "sampler": {"name": "heun"}, "z": 1}),
    ):
        pytest.fail("the block must not be entered")
    assert names(tmp_path / "out") == ["part", "run.json"]


def test_a_difference_of_a_missing_key_is_named(tmp_path: Path) -> None:
    with claim_output(tmp_path / "out", {"a": 1}) as claimed:
        write_text(claimed.directory / "part", "1")
    with (
        pytest.raises(UserError, match="b is absent there and 2 here"),
        claim_output(tmp_path / "out", {"a": 1, "b": 2}),
    ):
        pytest.fail("the block must not be entered")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("run_file", [None, "{}", "not json"])
def test_files_of_somebody_else_are_never_replaced(
    tmp_path: Path, overwrite: bool, run_file: str | None
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    if run_file is not None:
        (tmp_path / "run.json").write_text(run_file)
    with (
        pytest.raises(UserError, match="another directory"),
        claim_output(tmp_path, {"a": 1}, overwrite=overwrite),
    ):
        pytest.fail("the block must not be entered")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_place_of_the_directory_is_a_user_error(
    tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "out").write_text("a file")
    with (
        pytest.raises(UserError, match="cannot be written"),
        claim_output(tmp_path / "out", {}, overwrite=overwrite),
    ):
        pytest.fail("the block must not be entered")
    assert (tmp_path / "out").read_text() == "a file"


def claim_and_fill(
    path: Path, fingerprint: dict[str, int], text: str, *, overwrite: bool = False
) -> None:
    with claim_output(path, fingerprint, overwrite=overwrite) as claimed:
        if not claimed.finished:
            write_text(claimed.directory / "part", text)
            write_json(claimed.directory / "manifest.json", {})


def test_overwrite_swaps_the_new_results_in_and_removes_the_old(tmp_path: Path) -> None:
    claim_and_fill(tmp_path / "out", {"a": 1}, "old")
    with claim_output(tmp_path / "out", {"a": 2}, overwrite=True) as claimed:
        assert claimed.directory != claimed.path
        assert (claimed.path / "part").read_text() == "old"
        write_text(claimed.directory / "part", "new")
    assert names(tmp_path) == ["out", "out/part", "out/run.json"]
    assert (tmp_path / "out" / "part").read_text() == "new"
    claim_and_fill(tmp_path / "out", {"a": 2}, "resumed in place")
    assert (tmp_path / "out" / "part").read_text() == "resumed in place"


def test_overwrite_of_finished_results_of_the_same_config_makes_them_anew(tmp_path: Path) -> None:
    claim_and_fill(tmp_path / "out", {"a": 1}, "old")
    claim_and_fill(tmp_path / "out", {"a": 1}, "ignored")
    assert (tmp_path / "out" / "part").read_text() == "old"
    claim_and_fill(tmp_path / "out", {"a": 1}, "new", overwrite=True)
    assert (tmp_path / "out" / "part").read_text() == "new"


def claim_and_be_interrupted(path: Path, fingerprint: dict[str, int]) -> None:
    with claim_output(path, fingerprint, overwrite=True) as claimed:
        write_text(claimed.directory / "half", "half")
        raise KeyboardInterrupt


def test_an_interrupted_overwrite_keeps_the_old_results_and_is_resumed(tmp_path: Path) -> None:
    claim_and_fill(tmp_path / "out", {"a": 1}, "old")
    with pytest.raises(KeyboardInterrupt):
        claim_and_be_interrupted(tmp_path / "out", {"a": 2})
    assert (tmp_path / "out" / "part").read_text() == "old"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["fingerprint"] == {"a": 1}
    with claim_output(tmp_path / "out", {"a": 2}, overwrite=True) as claimed:
        assert (claimed.directory / "half").read_text() == "half"
    assert names(tmp_path) == ["out", "out/half", "out/run.json"]


def test_what_an_overwrite_by_a_third_config_left_is_dropped(tmp_path: Path) -> None:
    claim_and_fill(tmp_path / "out", {"a": 1}, "old")
    with pytest.raises(KeyboardInterrupt):
        claim_and_be_interrupted(tmp_path / "out", {"a": 2})
    claim_and_fill(tmp_path / "out", {"a": 3}, "new", overwrite=True)
    assert names(tmp_path) == ["out", "out/manifest.json", "out/part", "out/run.json"]


def test_an_incoming_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    claim_and_fill(tmp_path / "out", {"a": 1}, "old")
    write_text(tmp_path / "out.incoming" / "thesis.txt", "years of work")
    with pytest.raises(UserError, match=r"out\.incoming"):
        claim_and_fill(tmp_path / "out", {"a": 2}, "new", overwrite=True)
    assert (tmp_path / "out.incoming" / "thesis.txt").read_text() == "years of work"


def test_a_run_that_fails_before_its_first_result_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError), claim_output(tmp_path / "out", {"a": 1}):
        raise UserError("the input is empty")
    assert names(tmp_path) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError), claim_output(tmp_path / "out", {"a": 1}):
        raise UserError("the input is empty")
    assert names(tmp_path) == ["out"]


def test_a_directory_without_results_takes_another_config(tmp_path: Path) -> None:
    with claim_output(tmp_path / "out", {"a": 1}):
        pass
    with claim_output(tmp_path / "out", {"a": 2}) as claimed:
        assert read_json(claimed.directory / "run.json")["fingerprint"] == {"a": 2}


def test_a_swap_killed_between_its_two_renames_is_repaired_by_the_next_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_and_fill(tmp_path / "out", {"a": 1}, "old")
    rename = os.rename

    def killed(source: Path, target: Path) -> None:
        if Path(source).name == "out.incoming":
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", killed)
    monkeypatch.setattr(output, "restore_directory", lambda path: None)
    with pytest.raises(KeyboardInterrupt):
        claim_and_fill(tmp_path / "out", {"a": 2}, "new", overwrite=True)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    claim_and_fill(tmp_path / "out", {"a": 1}, "ignored")
    assert (tmp_path / "out" / "part").read_text() == "old"


def steps_in(directory: Path) -> int:
    return len(list(directory.glob("step-*")))


STEPS = Length("steps", steps_in)


def run_to(path: Path, steps: int, *, killed_at: int | None = None, **more: object) -> bool:
    """A file for each step, then a model; returns whether it was finished before."""
    fingerprint = {"lr": 1, "steps": steps, **more}
    with claim_output(path, fingerprint, marker="model", length=STEPS) as claimed:
        if claimed.finished:
            return True
        for step in range(steps_in(claimed.directory), steps):
            if step == killed_at:
                raise KeyboardInterrupt
            write_text(claimed.directory / f"step-{step}", "")
        write_text(claimed.directory / "model", str(steps))
    return False


def test_a_finished_run_is_made_longer_and_its_model_stands_until_the_new_one(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    assert not run_to(out, 2)
    assert run_to(out, 2)
    with pytest.raises(KeyboardInterrupt):
        run_to(out, 4, killed_at=3)
    assert (out / "model").read_text() == "2"
    assert not run_to(out, 4)  # and not taken for finished
    assert (out / "model").read_text() == "4"
    assert run_to(out, 4)
    assert names(tmp_path) == ["out", *(f"out/{n}" for n in sorted(
        ["model", "run.json", "step-0", "step-1", "step-2", "step-3"]
    ))]  # fmt: skip


def test_a_run_is_not_made_shorter_than_what_is_done(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_to(tmp_path / "out", 9, killed_at=3)
    before = names(tmp_path)
    with pytest.raises(UserError, match=r"has 3 steps done, and 2 are asked for.*--overwrite"):
        run_to(tmp_path / "out", 2)
    assert names(tmp_path) == before
    assert not run_to(tmp_path / "out", 3)  # a length given by mistake can be taken back


def test_a_longer_run_of_another_config_is_another_config(tmp_path: Path) -> None:
    run_to(tmp_path / "out", 2)
    with pytest.raises(UserError, match="lr is 1 there and 2 here"):
        run_to(tmp_path / "out", 4, lr=2)
    with (
        pytest.raises(UserError, match="steps is 2 there and 3 here"),
        claim_output(tmp_path / "out", {"lr": 1, "steps": 3}, marker="model"),
    ):
        pytest.fail("the block must not be entered")
