"""Loads the classifier that a config names: Noisestack's own, a user's, or one of transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.classifier import Classifier, FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, check_fits
from pipeline.formats.perturbation.check import Judge
from pipeline.importable import is_importable
from pipeline.user_models.function import load_from_function
from pipeline.user_models.onnx_file import OnnxJudge
from pipeline.user_models.transformers_directory import (
    is_transformers_directory,
    load_from_transformers,
)


def load_classifier(
    spec: str,
    info: DatasetInfo,
    *,
    weights: Path | None = None,
    rows_per_call: int | None = None,
    device: torch.device | str = "cpu",
) -> FrozenClassifier:
    """The classifier for a dataset's pictures.

    Args:
        spec: a model directory of Noisestack's or of transformers', or ``module:function``.
        weights: a safetensors file, for ``module:function`` alone.
        rows_per_call: rows in each call; None for the classifier's own. Noisestack's classifiers
            carry theirs.

    Raises:
        UserError: there is no such classifier, or it does not fit the dataset.
    """
    if is_importable(spec):
        return load_from_function(
            spec, info, weights=weights, rows_per_call=rows_per_call, device=device
        )
    if weights is not None:
        raise UserError("weights go with a classifier that is given as module:function")
    path = Path(spec)
    if path.suffix == ".onnx":
        raise UserError(
            f"{path} gives no gradients here: an ONNX file can check a set (`noisestack verify`), "
            "not make one; give the model itself"
        )
    if is_transformers_directory(path):
        return load_from_transformers(path, info, rows_per_call=rows_per_call, device=device)
    if rows_per_call is not None:
        raise UserError(f"the classifier {path} has its own rows_per_call; leave it out")
    classifier = Classifier.load(path, device)
    check_fits(
        info, shape=classifier.shape, classes=classifier.classes, what=f"the classifier {path}"
    )
    return classifier


def load_same_classifier(
    spec: str, info: DatasetInfo, sha256: str | None, **how: Any
) -> FrozenClassifier:
    """`load_classifier`, with a check of the classifier's identity unless that is None.

    Raises:
        UserError: the classifier on this machine is another one.
    """
    classifier = load_classifier(spec, info, **how)
    if sha256 not in (None, classifier.sha256):
        raise UserError(
            f"the classifier {spec} has other weights, or another source, here than "
            "where the job was started; a function that draws its weights needs --weights"
        )
    return classifier


def rows_to_tell(origin: Mapping[str, Any], told: Mapping[str, Any]) -> int | None:
    """The rows a call that a classifier of an earlier run is loaded with again.

    Args:
        origin: of the classifier, as its set's manifest has it.
        told: the manifest's record that holds "rows_per_call", where the classifier needs it.

    Returns:
        That number, or None for a Noisestack model, which carries its own.
    """
    own = origin.get("kind") not in ("function", "transformers")
    return None if own else int(told["rows_per_call"])


def load_judge(
    spec: str,
    info: DatasetInfo,
    *,
    weights: Path | None = None,
    rows_per_call: int | None = None,
) -> Judge:
    """A classifier as `load_classifier` gives it, or one from an ONNX file."""
    if not is_importable(spec) and Path(spec).suffix == ".onnx":
        return OnnxJudge(Path(spec))
    return load_classifier(spec, info, weights=weights, rows_per_call=rows_per_call)
