"""The whole run in a row, made small: every part reads what the one before it wrote."""

import json
from pathlib import Path

import pytest

from jobs.quickstart import QuickstartConfig, main
from pipeline.classifier import Classifier
from pipeline.formats.dataset import load_dataset
from pipeline.formats.perturbation.check import verify_perturbation_set
from pipeline.formats.sample_set import open_sample_set
from pipeline.stack import Stack

STEPS = (
    "ingest",
    "train-classifier",
    "train-stack",
    "generate",
    "perturb",
    "evaluate",
    "certify",
    "boundary",
)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_quickstart_leaves_a_report_of_what_it_made_and_re_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = QuickstartConfig(output=tmp_path / "run", stack_steps=3, count=30)
    page = main(config)
    place = tmp_path / "run"
    said = capsys.readouterr().out
    positions = [said.index(f"== {step}") for step in STEPS]
    assert positions == sorted(positions)
    assert f"open {page} in a browser" in said

    report = json.loads((place / "report.json").read_text())
    evaluation = json.loads((place / "evaluation" / "evaluation.json").read_text())
    perturbations = json.loads((place / "perturbations" / "manifest.json").read_text())
    boundary = json.loads((place / "boundary" / "boundary.json").read_text())
    assert [one["name"] for one in boundary["classifiers"]] == ["natural", "denoised"]
    assert report["boundary"][0]["right"] == boundary["classifiers"][0]["figures"]["right"] >= 5
    assert "The boundary, before and after" in page.read_text()
    samples = open_sample_set(place / "samples")
    assert samples.num_rows == 30
    assert report["hashes"] == {
        "dataset": load_dataset(place / "dataset").sha256,
        "stack": Stack.load(place / "stack" / "model").sha256,
        "classifier": Classifier.load(place / "classifier" / "model").sha256,
        "samples": samples.sha256,
    }
    card = json.loads((place / "classifier" / "model" / "card.json").read_text())
    assert card["test_accuracy"] >= 0.98  # as its config says; 0.99 measured
    assert "30 labelled samples" in said
    assert "1,000 labelled" not in said
    assert report["files"]["samples"] == "30 labelled samples and their two pictures"
    assert "1,000 labelled" not in page.read_text()
    text = json.dumps(report)
    assert json.dumps(evaluation["frechet"]["samples_to_test"]) in text
    assert json.dumps(perturbations["robust_accuracy"]) in text
    verified = verify_perturbation_set(
        place / "perturbations",
        Classifier.load(place / "classifier" / "model"),
        load_dataset(place / "dataset"),
    )
    assert verified.faults == ()
    assert verified.num_verified == load_dataset(place / "dataset").num_rows("test")

    made = {
        path: path.stat().st_mtime_ns for path in place.rglob("*") if path.suffix == ".parquet"
    } | {path: path.stat().st_mtime_ns for path in place.rglob("*.safetensors")}
    main(config)
    assert {path: path.stat().st_mtime_ns for path in made} == made
