"""What `make quickstart` leaves, small and made without Ray, for pages that begin where it ends."""

from pathlib import Path

import pytest
from digit_models import digit_network
from digit_set import CLASSES, write_digits
from in_this_process import certify_here, generate_here, perturb_here
from small_stack import small_stack

import noisestack as ns
from pipeline.classifier import save_classifier
from pipeline.conditions import ConditionSpec
from pipeline.stack import save_stack


def write_quickstart(root: Path) -> Path:
    """``runs/quickstart`` in a folder, with an untrained stack; the folder of the runs."""
    runs = root / "runs/quickstart"
    write_digits(runs / "dataset", num_train=200, num_test=60)
    save_classifier(runs / "classifier/model", digit_network(), CLASSES, {})
    save_stack(
        small_stack(classes=CLASSES, condition=ConditionSpec("label", 10)),
        {},
        runs / "stack/model",
        {},
    )
    with pytest.MonkeyPatch.context() as patched:
        generate_here(patched)
        perturb_here(patched)
        certify_here(patched)
        ns.jobs.generate(model=runs / "stack/model", output=runs / "samples", count=20)
        ns.jobs.perturb(
            dataset=runs / "dataset",
            classifier=str(runs / "classifier/model"),
            output=runs / "perturbations",
            eps="32/255",
            steps=5,
        )
        ns.jobs.certify(
            dataset=runs / "dataset",
            classifier=str(runs / "classifier/model"),
            output=runs / "certificates",
            sigma=0.25,
            radii=(0.25, 0.5),
            n=1000,
            limit=20,
        )
    return runs
