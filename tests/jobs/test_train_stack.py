"""Training a stack end to end: cut, resumed, killed, refused and broken."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digit_set import CLASSES, digits, write_digits
from in_this_process import train_here
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from jobs.train_stack import main
from jobs.train_stack.config import TrainStackConfig
from pipeline.errors import UserError
from pipeline.formats.dataset import dataset_table, load_dataset, write_dataset_info, write_shard
from pipeline.formats.keyed_sample import keyed_sample
from pipeline.formats.metrics import read_metrics
from pipeline.pictures import to_signed
from pipeline.plots.class_sheet import class_sheet
from pipeline.sampling import sample
from pipeline.stack import Stack
from pipeline.training.checkpoint import newest_checkpoint
from pipeline.training.errors import measure_errors
from pipeline.training.trainer import StackTrainer
from pipeline.verification.directory import verify_directory


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train_stack") / "digits"
    write_digits(path, num_train=100, num_test=24, shard_rows=30)
    return path


def config(dataset: Path, output: Path, **changes: Any) -> TrainStackConfig:
    """Six steps of eight digits, a checkpoint every two, in this process."""
    values: dict[str, Any] = {
        "stages": (4, 8),
        "widths": (8, 8),
        "blocks": (1, 1),
        "embedding": 8,
        "dropout": 0.2,
        "steps": 6,
        "batch_size": 8,
        "warmup_steps": 2,
        "checkpoint_every": 2,
        "log_every": 2,
        "grid_rows": 1,
        "layers": (1, 2),
        "rows_per_call": 10,
        "num_workers": 0,
    }
    return TrainStackConfig(dataset=dataset, output=output, **{**values, **changes})


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    train_here(monkeypatch)


@pytest.fixture(scope="module")
def whole_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing interrupted, without Ray."""
    output = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        train_here(patch)
        main(config(dataset, output))
    return output


def same_weights(one: Path, other: Path) -> bool:
    """Bit for bit, averages and optimiser state included; and the published models are one."""
    states = [newest_checkpoint(path / "checkpoints") for path in (one, other)]
    assert states[0] is not None
    assert states[1] is not None
    (step, state), (other_step, other_state) = states
    same = step == other_step and state.keys() == other_state.keys()
    same = same and all(torch.equal(value, other_state[name]) for name, value in state.items())
    stacks = [Stack.load(path / "model") for path in (one, other)]
    return same and stacks[0].sha256 == stacks[1].sha256


def test_a_run_leaves_a_model_that_samples_and_says_where_it_comes_from(
    whole_run: Path, dataset: Path
) -> None:
    stack = Stack.load(whole_run / "model")
    assert stack.classes == CLASSES
    assert stack.shape == (8, 8, 1)
    assert len(stack.spec.errors) == 2
    assert all(mse > 0 for curve in stack.spec.errors for mse in curve.mse)
    rows = np.arange(3)
    assert sample(stack, rows, rows, rows).shape == (3, 8, 8, 1)
    card = json.loads((whole_run / "model" / "card.json").read_text())
    assert card["dataset_sha256"] == load_dataset(dataset).sha256
    assert card["num_train_rows"] == 100
    assert card["steps"] == 6
    assert card["config"]["batch_size"] == 8


def test_the_error_curves_are_of_keyed_pictures_of_the_train_split(
    whole_run: Path, dataset: Path
) -> None:
    """Found again from the model and these rows: no test picture has a part in them."""
    stack = Stack.load(whole_run / "model")
    rows = keyed_sample(load_dataset(dataset), "train", 512, 0)
    pictures = (to_signed(rows.images), torch.tensor(rows.labels))
    found = measure_errors(stack, [pictures], seed=0)
    for curve, (levels, errors) in zip(stack.spec.errors, found, strict=True):
        np.testing.assert_allclose(curve.log_sigma, levels)
        np.testing.assert_allclose(curve.mse, errors, rtol=1e-5)
    card = json.loads((whole_run / "model" / "card.json").read_text())
    assert card["errors_measured_on"] == "train"


def test_a_run_leaves_its_figures_its_plot_and_a_grid_for_each_checkpoint(whole_run: Path) -> None:
    lines = read_metrics(whole_run / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 4, 6]
    assert set(lines[0]["loss"]) == {"4px", "8px"}
    grids = sorted(path.name for path in (whole_run / "grids").iterdir())
    assert grids == [f"step-00000000{step}.png" for step in (2, 4, 6)]
    with Image.open(whole_run / "grid.png") as grid:
        stack = Stack.load(whole_run / "model")
        drawn = sample(stack, np.zeros(10, int), np.arange(10), np.arange(10))
        expected = class_sheet(drawn, np.arange(10), CLASSES, per_class=1)
        np.testing.assert_array_equal(np.asarray(grid), np.asarray(expected))
    assert verify_directory(whole_run).faults.lines() == []
    assert (whole_run / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (whole_run / "checkpoints").iterdir()) == [
        "step-000000004.safetensors",
        "step-000000006.safetensors",
    ]
    assert not (whole_run / "ray_train").exists()


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("cut_at", [1, 5])
def test_the_same_command_goes_on_after_an_interruption_to_the_same_bits(
    dataset: Path,
    whole_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cut_at: int,
) -> None:
    update = StackTrainer.update
    steps: list[int] = []

    def interrupted(self: StackTrainer, x: Tensor, condition: Tensor | None) -> tuple[float, ...]:
        if self.step == cut_at:
            raise KeyboardInterrupt
        steps.append(self.step)
        return update(self, x, condition)

    monkeypatch.setattr(StackTrainer, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(config(dataset, tmp_path / "run"))
    assert not (tmp_path / "run" / "model").exists()
    monkeypatch.setattr(StackTrainer, "update", update)
    if cut_at == 5:  # it then goes on from step 2
        newest = tmp_path / "run" / "checkpoints" / "step-000000004.safetensors"
        newest.write_bytes(newest.read_bytes()[:-1])
    # what does not decide the result may differ
    main(config(dataset, tmp_path / "run", log_every=3))
    assert same_weights(tmp_path / "run", whole_run)
    assert steps == list(range(cut_at))
    lines = [m["step"] for m in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert lines == ([1, 3, 6] if cut_at == 1 else [1, 2, 3, 6])
    damaged = f"a checkpoint is damaged and was set aside as {tmp_path}"
    assert (damaged in capsys.readouterr().out) == (cut_at == 5)


@pytest.mark.usefixtures("without_ray")
def test_a_finished_run_goes_on_to_more_steps_and_keeps_its_model_until_then(
    dataset: Path, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(whole_run, tmp_path / "run"))
    update = StackTrainer.update
    rates: list[float] = []

    def watched(self: StackTrainer, x: Tensor, condition: Tensor | None) -> tuple[float, ...]:
        if self.step == 9 and len(rates) == 3:
            raise KeyboardInterrupt
        losses = update(self, x, condition)
        rates.append(self.optimizer.param_groups[0]["lr"])
        return losses

    monkeypatch.setattr(StackTrainer, "update", watched)
    with pytest.raises(KeyboardInterrupt):
        main(config(dataset, run, steps=10))
    assert Stack.load(run / "model").sha256 == Stack.load(whole_run / "model").sha256
    main(config(dataset, run, steps=10))
    recipe = config(dataset, run, steps=10).recipe()
    # Cut at step 9, whose checkpoint before is that of step 8.
    assert rates == [recipe.learning_rate_at(step) for step in (6, 7, 8, 8, 9)]
    assert json.loads((run / "model" / "card.json").read_text())["steps"] == 10
    assert [line["step"] for line in read_metrics(run / "metrics.jsonl")] == [1, 2, 4, 6, 8, 10]
    with pytest.raises(UserError, match="has 10 steps done, and 6 are asked for"):
        main(config(dataset, run, steps=6))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_of_ray_train_that_dies_is_replaced_and_ends_at_the_same_bits(
    dataset: Path, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And relative paths are the command's own, though workers change their directory."""
    died = tmp_path / "died"
    (tmp_path / "digits").symlink_to(dataset)
    monkeypatch.chdir(tmp_path)

    def dying(loop_config: dict[str, Any]) -> None:  # goes to the worker by value
        import os

        from jobs.common.stack_run import train_worker
        from pipeline.training.trainer import StackTrainer as InWorker

        update = InWorker.update

        def fatal(self: Any, x: Any, condition: Any) -> Any:
            if self.step == 5 and not died.exists():
                died.touch()
                os._exit(1)
            return update(self, x, condition)

        InWorker.update = fatal  # type: ignore[method-assign]
        train_worker(loop_config)

    monkeypatch.setattr("jobs.common.stack_training.train_worker", dying)
    main(config(Path("digits"), Path("run"), num_workers=1))
    assert died.exists()
    assert same_weights(tmp_path / "run", whole_run)
    lines = [m["step"] for m in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert lines == [1, 2, 4, 6]


def weights(output: Path) -> dict[str, Tensor]:
    """The trained weights and their averages, of all runs in it."""
    found = [newest_checkpoint(path) for path in sorted(output.rglob("checkpoints"))]
    return {
        name: value
        for run in found
        if run is not None
        for name, value in run[1].items()
        if not name.startswith("adam.")
    }


@pytest.mark.slow
@pytest.mark.usefixtures("without_ray")
def test_workers_that_share_a_batch_end_at_the_weights_of_a_single_process(
    dataset: Path, tmp_path: Path
) -> None:
    """After 50 steps, to 1e-5: three workers, whose shares are not equal, each in parts.

    (Two, whole, on Ray Train and streamed: tests/faults/test_kill_training.py.)
    """
    settings = {"steps": 50, "batch_size": 16, "grid_rows": 0, "checkpoint_every": 50}
    settings |= {"stage_share": (1.0, 0.5), "warmup_steps": 10}
    main(config(dataset, tmp_path / "alone", **settings))
    main(config(dataset, tmp_path / "three", **settings, num_workers=3, accumulate=3))
    alone, shared = weights(tmp_path / "alone"), weights(tmp_path / "three")
    assert shared.keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(shared[name], value, rtol=0, atol=1e-5, msg=name)


@pytest.mark.ray
def test_the_stages_of_a_stack_of_networks_train_each_for_itself_on_workers_side_by_side(
    dataset: Path, tmp_path: Path, ray_cluster: None
) -> None:
    main(config(dataset, tmp_path / "run", network="stage", steps=3, num_workers=1))
    stack = Stack.load(tmp_path / "run" / "model")
    assert list(stack.networks) == ["stage_4", "stage_8"]
    assert len(stack.spec.errors) == 2
    for side in (4, 8):
        lines = read_metrics(tmp_path / "run" / f"stage_{side}" / "metrics.jsonl")
        assert [line["step"] for line in lines] == [1, 2, 3]
        assert list(lines[0]["loss"]) == [f"{side}px"]
    card = json.loads((tmp_path / "run" / "model" / "card.json").read_text())
    assert set(card["final_loss"]) == {"4px", "8px"}
    assert (tmp_path / "run" / "grid.png").exists()
    start = Stack.fresh(stack.spec, 0).state_dict()
    trained = weights(tmp_path / "run")
    moved = [
        not torch.equal(trained[f"weights.{name}"], start[name])
        for name, _ in stack.named_parameters()
    ]
    assert sum(moved) > 0.9 * len(moved)


@pytest.mark.usefixtures("without_ray")
def test_a_stage_that_fails_leaves_the_others_to_end_and_is_all_that_a_second_run_trains(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"network": "stage", "steps": 4, "grid_rows": 0}
    main(config(dataset, tmp_path / "whole", **settings))
    update = StackTrainer.update
    trained: list[int] = []

    def failing(self: StackTrainer, x: Tensor, condition: Tensor | None) -> tuple[float, ...]:
        if self.stack.stages == (0,) and self.step == 3 and not (tmp_path / "mended").exists():
            raise UserError("the loss is not finite at step 3")
        trained.extend(self.stack.stages)
        return update(self, x, condition)

    monkeypatch.setattr(StackTrainer, "update", failing)
    with pytest.raises(UserError, match=r"^stage 4 px: the loss is not finite at step 3$"):
        main(config(dataset, tmp_path / "run", **settings))
    assert not (tmp_path / "run" / "model").exists()
    assert trained == [0] * 3 + [1] * 4
    trained.clear()
    (tmp_path / "mended").touch()
    main(config(dataset, tmp_path / "run", **settings))
    assert trained == [0] * 2  # from the checkpoint of step 2
    ours, theirs = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.usefixtures("without_ray")
@pytest.mark.slow
def test_compiled_and_channels_last_networks_learn_the_same(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In this process: others would first import torch.
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)
    monkeypatch.setattr("torch._inductor.config.cpp_cache_precompile_headers", False)
    # One stage: the compiler takes some 20 s for each.
    settings: dict[str, Any] = {"stages": (8,), "widths": (8,), "blocks": (1,), "layers": (2,)}
    settings |= {"grid_rows": 0, "dropout": 0.1, "steps": 4}
    main(config(dataset, tmp_path / "plain", **settings))
    main(config(dataset, tmp_path / "fast", **settings, compile=True, channels_last=True))
    plain, fast = weights(tmp_path / "plain"), weights(tmp_path / "fast")
    for name, value in plain.items():
        torch.testing.assert_close(fast[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_a_finished_run_is_left_as_it_is(
    dataset: Path, whole_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole_run.rglob("*")}
    assert main(config(dataset, whole_run, num_workers=2)) == whole_run / "model"
    assert "is there already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in whole_run.rglob("*")} == before


def test_another_config_in_the_same_output_is_refused_and_touches_nothing(
    dataset: Path, whole_run: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole_run.rglob("*")}
    with pytest.raises(UserError, match=r"learning_rate is 0\.001 there and 0\.002 here"):
        main(config(dataset, whole_run, learning_rate=2e-3))
    assert {path: path.stat().st_mtime_ns for path in whole_run.rglob("*")} == before


@pytest.mark.ray
def test_a_loss_that_is_not_finite_stops_with_its_step_and_keeps_the_last_checkpoint(
    dataset: Path, tmp_path: Path, ray_cluster: None
) -> None:
    broken = config(
        dataset,
        tmp_path / "run",
        checkpoint_every=1,
        grid_rows=0,
        num_workers=1,
        # Put past the check of configs: every rate that they take may stay finite.
    ).model_copy(update={"learning_rate": 1e30})
    with pytest.raises(UserError, match=r"is not finite at step 1 .*lower learning_rate"):
        main(broken)
    assert not (tmp_path / "run" / "model").exists()
    found = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert found[0] == 1
    assert all(bool(torch.isfinite(value).all()) for value in found[1].values())


@pytest.mark.usefixtures("without_ray")
def test_pictures_without_labels_train_without_condition(tmp_path: Path) -> None:
    images, _ = digits()
    captions = [f"digit {i}" for i in range(40)]
    table = dataset_table([str(i) for i in range(40)], images[:40], None, captions)
    shard = write_shard(table, tmp_path / "set", "train/part-00000.parquet")
    write_dataset_info(
        tmp_path / "set",
        shape=(8, 8, 1),
        classes=(),
        splits={"train": [shard]},
        has_captions=True,
        origin={},
    )
    with pytest.raises(UserError, match="has no labels; train with --condition none"):
        main(config(tmp_path / "set", tmp_path / "run", steps=2))
    main(config(tmp_path / "set", tmp_path / "run", steps=2, condition="none"))
    stack = Stack.load(tmp_path / "run" / "model")
    assert stack.classes == ()
    assert stack.spec.condition.kind == "none"


def test_stages_that_do_not_fit_the_pictures_are_refused_before_anything_is_written(
    dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"stages \[4, 16\] do not fit pictures of 8x8"):
        main(config(dataset, tmp_path / "run", stages=(4, 16)))
    assert not (tmp_path / "run").exists()


def test_noise_levels_that_do_not_fall_are_refused_and_leave_no_output(
    dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="do not fall"):
        main(config(dataset, tmp_path / "run", sigma_max=0.5))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (8,)}, "widths has 1 numbers, stages has 2"),
        ({"layers": (4, 4, 4)}, "layers has 3 numbers, stages has 2"),
        ({"widths": (8, 12)}, "widths must be multiples of 8"),
        ({"stage_share": (0.0, 1.0)}, "stage_share lies above 0"),
        ({"num_workers": 9}, "batch_size is less than num_workers times accumulate"),
        ({"num_workers": 4, "accumulate": 3}, "batch_size is less than num_workers times"),
        ({"num_workers": (2, 1)}, "the lower first"),
        ({"num_workers": (0, 2)}, "two numbers from 1 on"),
        ({"num_workers": -1}, "num_workers is 0 or more"),
        ({"stages_at_once": 2}, "stages_at_once is for networks that serve one stage each; nested"),
        ({"steps": 0}, "greater than or equal to 1"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(
    dataset: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        config(dataset, tmp_path / "run", **change)
