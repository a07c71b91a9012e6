"""Checks that the files of a training run agree with each other.

DIR/run.json                      the config that claimed it
DIR/model/                        the result; its card comes last
DIR/metrics.jsonl, checkpoints/   of one network; those of a stage of its own lie in a sub-folder
"""

import json
import math
from pathlib import Path
from typing import Any

import safetensors

from pipeline.errors import UserError
from pipeline.formats.claim import RUN_FILE
from pipeline.formats.metrics import METRICS_FILE
from pipeline.formats.model import CARD_FILE
from pipeline.formats.output import read_json
from pipeline.verification.faults import Faults
from pipeline.verification.model_check import check_model

TRAINING_JOBS = ("train_stack", "train_prior", "train_classifier", "train_picture_encoder")
_MODEL = "model"
_DATASET_KEYS = ("dataset", "dataset_sha256")  # as the jobs' fingerprints call it


def check_training_run(path: Path, faults: Faults) -> int:
    """Notes the faults of a training run; returns the number of files that were checked."""
    num_files = 1
    model = path / _MODEL
    if (model / CARD_FILE).is_file():
        num_files += check_model(model, faults, f"{_MODEL}/")[1]
        _compare_dataset(path, faults)
    else:
        what = f"has no {_MODEL}/{CARD_FILE}: training has not finished"
        faults.add("an unfinished run", str(path), what)
    for file in sorted(path.rglob(METRICS_FILE)):
        num_files += 1
        _check_metrics(file, file.relative_to(path).as_posix(), faults)
    for file in sorted(path.glob("**/checkpoints/step-*.safetensors")):
        num_files += 1
        try:
            with safetensors.safe_open(file, framework="numpy") as opened:
                opened.keys()
        except (OSError, safetensors.SafetensorError) as error:
            name = file.relative_to(path).as_posix()
            faults.add("a damaged checkpoint", name, f"cannot be read ({error})")
    return num_files


def _compare_dataset(path: Path, faults: Faults) -> None:
    """Checks that the model and the run name the same dataset."""
    try:
        fingerprint = read_json(path / RUN_FILE)["fingerprint"]
        trained = read_json(path / _MODEL / CARD_FILE).get("dataset_sha256")
    except (UserError, KeyError, AttributeError):
        return  # the model's own fault, which has been noted
    begun = next((fingerprint[key] for key in _DATASET_KEYS if key in fingerprint), None)
    if trained is not None and begun is not None and trained != begun:
        what = f"names another dataset than {RUN_FILE}: the one is not this run's"
        faults.add("files that contradict each other", f"{_MODEL}/{CARD_FILE}", what)


def _check_metrics(file: Path, name: str, faults: Faults) -> None:
    """Checks that each whole line is a JSON object with a rising step and finite losses."""
    step = 0
    text = file.read_text(encoding="utf-8", errors="replace")
    for row, line in enumerate(text[: text.rfind("\n") + 1].splitlines()):
        try:
            entry: dict[str, Any] = json.loads(line)
            at, losses = int(entry["step"]), entry.get("loss", {})
            values = [losses] if isinstance(losses, (int, float)) else list(losses.values())
        except (ValueError, KeyError, TypeError, AttributeError):
            faults.add("a line that is no metric", name, "is no JSON object with a step", row)
            continue
        if at <= step:
            faults.add("steps that do not rise", name, f"step {at} follows step {step}", row)
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
            faults.add("a loss that is no number", name, f"step {at} has no finite loss", row)
        step = at
