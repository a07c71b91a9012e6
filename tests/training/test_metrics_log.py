"""A run's figures as JSON lines: whole lines only, and none twice after a resume."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.formats.metrics import MetricsLog, read_metrics
from pipeline.plots.losses import plot_losses


def test_lines_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    log = MetricsLog(path)
    lines = [{"step": i, "loss": {"8px": 1 / i}} for i in (10, 20)]
    for line in lines:
        log.append(line)
    assert read_metrics(path) == lines


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path).append({"step": 10})
    with path.open("a") as file:
        file.write('{"step": 2')
    assert read_metrics(path) == [{"step": 10}]


def test_a_resumed_run_drops_what_came_after_its_checkpoint_and_what_was_cut_short(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (10, 20, 30):
        log.append({"step": step, "run": 1})
    with path.open("a") as file:
        file.write('{"step": 4')
    resumed = MetricsLog(path, after_step=20)
    resumed.append({"step": 30, "run": 2})
    assert [(m["step"], m["run"]) for m in read_metrics(path)] == [(10, 1), (20, 1), (30, 2)]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_run_from_the_beginning_drops_everything(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path).append({"step": 10})
    MetricsLog(path)
    assert read_metrics(path) == []


def test_a_log_that_was_replaced_writes_nothing_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    old = MetricsLog(path)
    for step in (10, 20):
        old.append({"step": step, "run": 1})
    new = MetricsLog(path, after_step=10)
    new.append({"step": 20, "run": 2})
    with pytest.raises(UserError, match=r"metrics\.jsonl was taken over by another run"):
        old.append({"step": 30, "run": 1})
    new.append({"step": 30, "run": 2})
    assert [(m["step"], m["run"]) for m in read_metrics(path)] == [(10, 1), (20, 2), (30, 2)]


def test_of_two_logs_that_found_no_file_the_later_to_write_has_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    old, new = MetricsLog(path), MetricsLog(path)
    assert not path.exists()
    old.append({"step": 10, "run": 1})
    new.append({"step": 10, "run": 2})
    with pytest.raises(UserError, match="taken over"):
        old.append({"step": 20, "run": 1})
    assert read_metrics(path) == [{"step": 10, "run": 2}]


def test_the_loss_plot_is_a_png_that_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "losses.png"
    path.write_bytes(b"older")
    plot_losses([1, 2, 3], {"4px": [3, 2, 1.0], "8px": [1, 0.1, 0.01]}, path, title="stack")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["losses.png"]
