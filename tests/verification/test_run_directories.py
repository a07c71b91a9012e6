"""`verify` of what holds no rows of its own: training runs and evaluations."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from pipeline.formats.model import save_model
from pipeline.formats.output import write_json
from pipeline.intervals import clopper_pearson
from pipeline.verification.directory import verify_directory


def faults(path: Path) -> list[str]:
    return verify_directory(path).faults.lines()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of two stages, one of them in a folder of its own."""
    fingerprint = {"job": "train_stack", "dataset": "ab" * 32}
    write_json(tmp_path / "run.json", {"format": 1, "fingerprint": fingerprint})
    weights = {"net": {"w": torch.zeros(2)}}
    card = {"dataset_sha256": "ab" * 32}
    save_model(tmp_path / "model", kind="stack", config={}, weights=weights, card=card)
    for place in (tmp_path, tmp_path / "stage-1"):
        (place / "checkpoints").mkdir(parents=True)
        checkpoint = place / "checkpoints" / "step-000000004.safetensors"
        safetensors.torch.save_file({"w": torch.zeros(8)}, checkpoint)
        lines = [{"step": step, "loss": {"4 px": 1 / step}} for step in (2, 4)]
        (place / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_an_honest_training_run_has_no_faults_and_its_files_are_counted(run: Path) -> None:
    found = verify_directory(run)
    assert found.faults.lines() == []
    # run.json, the model's two files, two metrics and two checkpoints
    assert (found.kind, found.num_files, found.in_rows) == ("training run", 7, False)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4])


def _append(text: str) -> Callable[[Path], None]:
    return lambda file: file.write_text(file.read_text() + text)


@pytest.mark.parametrize(
    ("file", "spoil", "told"),
    [
        ("model/net.safetensors", _cut, "model/model: .* has another hash"),
        ("stage-1/checkpoints/step-000000004.safetensors", _cut, "cannot be read"),
        ("metrics.jsonl", _append('{"step": 4, "loss": {}}\n'), "row 2: step 4 follows step 4"),
        ("metrics.jsonl", _append('{"step": 6, "loss": {"a": NaN}}\n'), "step 6 has no finite los"),
        ("stage-1/metrics.jsonl", _append("spoilt\n"), "row 2: is no JSON object with a step"),
        ("model/card.json", Path.unlink, r"has no model/card\.json: training has not finished"),
    ],
)
def test_a_planted_fault_of_a_training_run_is_the_one_that_is_told(
    run: Path, file: str, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(run / file)
    (line,) = faults(run)
    assert re.search(told, line), line


def test_a_line_that_is_being_written_is_no_fault(run: Path) -> None:
    _append('{"step": 6, "lo')(run / "metrics.jsonl")
    assert faults(run) == []


def test_a_model_of_another_dataset_than_the_run_is_told(run: Path) -> None:
    fingerprint = {"job": "train_stack", "dataset": "cd" * 32}
    write_json(run / "run.json", {"format": 1, "fingerprint": fingerprint})
    assert faults(run) == [
        "model/card.json: names another dataset than run.json: the one is not this run's"
    ]


MADE_FROM = {"job": "evaluate", "samples": "ab"}
FIGURES: dict[str, Any] = {
    "agreement": {
        "rate": 0.9,
        "right": 90,
        "asked": 100,
        "low95": clopper_pearson(90, 100)[0],
        "high95": clopper_pearson(90, 100)[1],
    },
    "frechet": {"samples_to_test": 3.0, "train_to_test": 1.5, "ratio_to_floor": 2.0},
    "copies": {"num_samples": 100, "num_exact": 1, "num_near": 2},
    "bound": {
        "bits_per_dim": 3.0,
        "prior_bits_per_dim": 0.5,
        "layers_bits_per_dim": 2.0,
        "reconstruction_bits_per_dim": 0.5,
    },
    "made_from": MADE_FROM,
}


def write_evaluation(path: Path, figures: dict[str, Any]) -> Path:
    write_json(path / "run.json", {"format": 1, "fingerprint": MADE_FROM})
    write_json(path / "evaluation.json", figures)
    return path


@pytest.mark.parametrize("without", [None, "agreement", "bound"])
def test_an_honest_evaluation_has_no_faults(tmp_path: Path, without: str | None) -> None:
    figures = FIGURES if without is None else {**FIGURES, without: None}
    found = verify_directory(write_evaluation(tmp_path, figures))
    assert (found.faults.lines(), found.kind) == ([], "evaluation")


@pytest.mark.parametrize(
    ("part", "key", "value", "told"),
    [
        (
            "agreement",
            "rate",
            0.95,
            "says the labels' rate 0.95, and its other figures make it 0.9",
        ),
        ("agreement", "high95", 0.91, "says the labels' high95 0.91, and its other figures make"),
        ("frechet", "samples_to_test", 2.0, "says the ratio to the floor 2.0, and its other figur"),
        ("frechet", "ratio_to_floor", None, "says the ratio to the floor None, and its other figu"),
        ("copies", "num_exact", 3, "says num_exact 3 of num_near 2"),
        ("bound", "layers_bits_per_dim", 1.0, "says the bound 3.0, and its other figures make it"),
        ("made_from", "samples", "cd", "was made from something else than run.json says"),
    ],
)
def test_a_figure_that_was_changed_is_told(
    tmp_path: Path, part: str, key: str, value: object, told: str
) -> None:
    figures = copy.deepcopy(FIGURES)
    figures[part][key] = value
    (line,) = faults(write_evaluation(tmp_path, figures))
    assert line.startswith(f"evaluation.json: {told}")


def test_an_evaluation_that_lacks_figures_is_told(tmp_path: Path) -> None:
    figures = {key: value for key, value in FIGURES.items() if key != "frechet"}
    assert faults(write_evaluation(tmp_path, figures)) == [
        "evaluation.json: lacks or spoils 'frechet'"
    ]
