"""The main job in a row on the embedded digits: data, two models, samples, perturbations, report.

Each step is a job of its own with a config that comes along; this script gives one after the other
what a person would type, and gathers what they leave into one page.
"""

import json
import shlex
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pydantic import Field

from jobs import (
    boundary,
    certify,
    evaluate,
    generate,
    ingest,
    perturb,
    train_classifier,
    train_stack,
)
from noisestack.command import Command
from noisestack.config import Config, JobConfig
from noisestack.flags import read_config
from noisestack.session import ray_session
from noisestack.shipped import configs
from pipeline.classifier import Classifier
from pipeline.formats.boundary import BOUNDARY_FILE, MAPS_PICTURE, NOISE_PICTURE
from pipeline.formats.dataset import load_dataset
from pipeline.formats.output import read_json
from pipeline.formats.perturbation.set import open_perturbation_set
from pipeline.formats.sample_set import iterate_samples, open_sample_set
from pipeline.formats.shard import images_of, iterate, labels_of
from pipeline.plots.certified import CERTIFIED_FILE
from pipeline.plots.class_sheet import rows_by_class
from pipeline.plots.losses import LOSSES_FILE
from pipeline.plots.perturbations import choose_examples
from pipeline.plots.trajectory import record_trajectory
from pipeline.report import write_report
from pipeline.report.boundary import BoundaryDistances, BoundaryPanel
from pipeline.report.certificates import CertificatePanel
from pipeline.report.data import Figures, LossCurve, ReportData, Step
from pipeline.stack import Stack
from pipeline.verification.evaluation_check import EVALUATION_FILE

_WAYS = (2, 5, 8)  # the digits whose way up the stack the report shows
_EXAMPLES = 6
_PER_CLASS = 12  # samples of each class in the report


class QuickstartConfig(JobConfig):
    """Run everything once on the embedded digits (1,797 pictures of 8x8), with no download.

    Given again, it goes on where it stopped and re-does nothing.
    """

    output: Path = Field(Path("runs/quickstart"), description="the directory for all results")
    stack_steps: int | None = Field(
        None, ge=1, description="optimiser steps of the stack; none for those in its config"
    )
    count: int | None = Field(
        None, ge=20, description="how many samples; none for those in generate's config"
    )


class Quickstart:
    """Runs the steps and remembers what each took."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def run(self, name: str, command: Command[Config], config: str, **flags: object) -> None:
        """One job, as ``noisestack NAME --config CONFIG --flag value`` would run it."""
        # By its path: a person's own file may have the name.
        arguments = ["--config", str(configs()[config].path)]
        for flag, value in flags.items():
            if value is not None:
                arguments += [f"--{flag.replace('_', '-')}", str(value)]
        shown = ["--config", config, *arguments[2:]]
        text = f"noisestack {name} {shlex.join(shown)}"
        print(f"\n== {name}", flush=True)
        start = time.monotonic()
        command.main(read_config(command.config_class, arguments, f"noisestack {name}"))
        self.steps.append(Step(name, text, time.monotonic() - start))


def main(config: QuickstartConfig) -> Path:
    """Runs every step; returns the report's path."""
    place, start, quickstart = config.output, time.monotonic(), Quickstart()
    _run(quickstart, config)
    print("\n== report", flush=True)
    data = _gather(place, tuple(quickstart.steps))
    report = write_report(place, data)
    print(f"\nall done in {time.monotonic() - start:.0f} s; the results lie in {place}:")
    for name, what in data.files.items():
        print(f"  {name:<16} {what}")
    print(f"\nopen {report} in a browser; then: make serve")
    return report


def _run(quickstart: Quickstart, config: QuickstartConfig) -> None:
    """Every step but the report."""
    place = config.output
    classifier, stack, run = place / "classifier", place / "stack", quickstart.run
    data = {"dataset": place / "dataset"}
    judged = {**data, "classifier": classifier / "model"}
    with ray_session():
        run("ingest", ingest.COMMAND, "ingest_digits", output=place / "dataset")
        run(
            "train-classifier",
            train_classifier.COMMAND,
            "classifier_digits",
            **data,
            output=classifier,
        )
        run(
            "train-stack",
            train_stack.COMMAND,
            "stack_digits",
            **data,
            output=stack,
            steps=config.stack_steps,
        )
        run(
            "generate",
            generate.COMMAND,
            "generate_digits",
            model=stack / "model",
            output=place / "samples",
            count=config.count,
        )
        run("perturb", perturb.COMMAND, "perturb_digits", **judged, output=place / "perturbations")
        run(
            "evaluate",
            evaluate.COMMAND,
            "evaluate_digits",
            samples=place / "samples",
            **judged,
            model=stack / "model",
            output=place / "evaluation",
        )
        run("certify", certify.COMMAND, "certify_digits", **judged, output=place / "certificates")
    model = classifier / "model"
    run(
        "boundary",
        boundary.COMMAND,
        "boundary_digits",
        **data,
        classifiers=json.dumps({"natural": str(model), "denoised": str(model)}),
        stacks=json.dumps({"denoised": str(stack / "model")}),
        output=place / "boundary",
    )


def _files(num_samples: int) -> dict[str, str]:
    """Where things lie, beside the report, to what they are."""
    return {
        "report.html": "the page to open first; report.json has its figures",
        "dataset": "the digits as Parquet, train and test",
        "classifier/model": "the classifier",
        "stack/model": "the denoiser stack",
        "samples": f"{num_samples:,} labelled samples and their two pictures",
        "perturbations": "the perturbation set and its picture",
        "evaluation": "how good the samples are",
        "certificates": "within which radius the smoothed classifier's answers provably hold",
        "boundary": "where the classifier changes its answer, by itself and behind the stack",
    }


def _gather(place: Path, steps: tuple[Step, ...]) -> ReportData:
    """What the report shows, read from what the steps left."""
    info = load_dataset(place / "dataset")
    stack = Stack.load(place / "stack" / "model")
    classifier = Classifier.load(place / "classifier" / "model")
    samples = open_sample_set(place / "samples")
    table = next(iter(iterate_samples(samples)))
    perturbed = open_perturbation_set(place / "perturbations")
    evaluation = read_json(place / "evaluation" / EVALUATION_FILE)
    manifest = read_json(place / "perturbations" / "manifest.json")
    options = samples.origin["options"]
    labels = np.array([label for label in _WAYS if label < len(stack.classes)])
    return ReportData(
        title="Handwritten digits",
        dataset=(
            f"{info.num_rows('train'):,} training and {info.num_rows('test'):,} test pictures of "
            "8×8 pixels, from scikit-learn's embedded set"
        ),
        sampling=(
            f"{options['sampler']}, {'+'.join(str(n) for n in options['layers'])} layers, "
            f"guidance {options['guidance']:g}, seed {samples.origin['seed']}"
        ),
        num_samples=samples.num_rows,
        samples=rows_by_class(
            images_of(table), labels_of(table), stack.classes, per_class=_PER_CLASS
        ),
        trajectory=record_trajectory(
            stack, np.full(len(labels), samples.origin["seed"]), labels, labels
        ),
        examples=choose_examples(
            next(iterate(perturbed.path, perturbed.shards)), classifier.classes, _EXAMPLES
        ),
        certificates=_certificates(place / "certificates"),
        boundary=_boundary(place / "boundary"),
        losses=tuple(
            LossCurve(name, path.read_bytes())
            for name, path in {
                "denoiser stack": place / "stack" / LOSSES_FILE,
                "classifier": place / "classifier" / LOSSES_FILE,
            }.items()
        ),
        figures=Figures.from_json(evaluation, manifest),
        steps=steps,
        hashes={
            "dataset": info.sha256,
            "stack": stack.sha256,
            "classifier": classifier.sha256,
            "samples": samples.sha256,
        },
        versions={name: version(name) for name in ("noisestack", "torch", "ray", "pyarrow")},
        files=_files(samples.num_rows),
        next_steps={
            "Serve the stack": f"noisestack serve --model {place / 'stack' / 'model'}",
            "Make a million samples": (
                f"noisestack generate --model {place / 'stack' / 'model'} --count 1000000 "
                "--output runs/million"
            ),
        },
    )


def _certificates(place: Path) -> CertificatePanel:
    curve = (place / CERTIFIED_FILE).read_bytes()
    return CertificatePanel.from_manifest(read_json(place / "manifest.json"), curve)


def _boundary(place: Path) -> BoundaryPanel:
    return BoundaryPanel(
        (place / MAPS_PICTURE).read_bytes(),
        (place / NOISE_PICTURE).read_bytes(),
        BoundaryDistances.from_manifest(read_json(place / BOUNDARY_FILE)),
    )


COMMAND = Command(
    QuickstartConfig, main, summary="the whole run on the embedded digits, with a report"
)
if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
