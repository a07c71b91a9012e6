"""An image classifier of the library transformers, from a directory that ``save_pretrained`` wrote.

What its image processor does to a picture of the right size, scaling and normalising, is done in
torch, so that the gradient reaches the picture: `preprocessor_config.json` says how. What it would
do to a picture of another size is not done at all: ingest with ``--resize``.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.classifier import ROWS_PER_CALL, UNIT_RANGE, FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.output import read_json, sha256_of_file, sha256_of_json
from pipeline.importable import told

PROCESSOR_FILE = "preprocessor_config.json"
CONFIG_FILE = "config.json"


def is_transformers_directory(path: Path) -> bool:
    """Whether a directory is one that ``save_pretrained`` wrote, going by its config."""
    try:
        return "architectures" in json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def load_from_transformers(
    path: Path,
    info: DatasetInfo,
    *,
    rows_per_call: int | None = None,
    device: torch.device | str = "cpu",
) -> FrozenClassifier:
    """An image classifier of transformers, with the dataset's shape and classes.

    Its identity is the hash over its configs and weights. Grey pictures are given to a model of
    three channels three times over.

    Raises:
        UserError: transformers is not installed, the directory is not such a classifier's, its
            weights are not safetensors, or pictures or classes do not fit.
    """
    try:
        from transformers import AutoConfig, AutoModelForImageClassification
    except ImportError:
        raise UserError(
            f"{path} is a model of transformers, which is not installed; "
            "pip install 'noisestack[text]'"
        ) from None
    if not (path / PROCESSOR_FILE).is_file():
        raise UserError(
            f"{path} has no {PROCESSOR_FILE}, which says how pictures are scaled for it; "
            "save its image processor there"
        )
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        _check_classes(config, info, path)
        model = AutoModelForImageClassification.from_pretrained(
            path, config=config, local_files_only=True, use_safetensors=True
        )
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} is not an image classifier ({told(error)})") from None
    scaling = _scaling(read_json(path / PROCESSOR_FILE), info, path)
    channels = int(getattr(config, "num_channels", info.shape[2]))
    if info.shape[2] not in (1, channels):
        raise UserError(
            f"{path} is for pictures of {channels} channels, those of {info.path} have "
            f"{info.shape[2]}; ingest with --channels {channels}"
        )
    files = [CONFIG_FILE, PROCESSOR_FILE, *sorted(f.name for f in path.glob("*.safetensors"))]
    identity = {"files": {name: sha256_of_file(path / name) for name in files}}
    return FrozenClassifier(
        _FromUnit(model, scaling, channels),
        info.classes,
        info.shape,
        sha256=sha256_of_json({**identity, "classes": info.classes}),
        rows_per_call=rows_per_call or ROWS_PER_CALL,
        device=device,
        origin={
            "kind": "transformers",
            "architecture": type(model).__name__,
            **identity,
            "preprocessing": {**UNIT_RANGE, "then": scaling, "channels": channels},
        },
    )


class _FromUnit(nn.Module):
    """float32 ``[N, C, H, W]`` in [0, 1] to logits: ``(255 x · factor - mean) / std``, a model."""

    def __init__(self, model: nn.Module, scaling: dict[str, Any], channels: int) -> None:
        super().__init__()
        self.model, self.channels, self.factor = model, channels, scaling["factor"]
        for name in ("mean", "std"):
            values = torch.tensor(scaling[name], dtype=torch.float32).reshape(1, -1, 1, 1)
            self.register_buffer(name, values)

    def forward(self, x: Tensor) -> Tensor:
        x = x.expand(-1, self.channels, -1, -1)
        logits: Tensor = self.model(
            pixel_values=(x * (255 * self.factor) - self.mean) / self.std
        ).logits
        return logits


def _scaling(told_by: dict[str, Any], info: DatasetInfo, path: Path) -> dict[str, Any]:
    """Factor of the levels, mean and deviation; UserError where pictures would be resized."""
    due = list(info.shape[:2])
    for asked, key in (("do_resize", "size"), ("do_center_crop", "crop_size")):
        size = told_by.get(key)
        if told_by.get(asked) and size is not None:
            due = _sides(size, due)
    if due != list(info.shape[:2]):
        raise UserError(
            f"{path} is for pictures of {due[0]}x{due[1]}, and those of {info.path} are "
            f"{info.shape[0]}x{info.shape[1]}; ingest with --resize {due[0]}"
        )
    normal = bool(told_by.get("do_normalize"))
    return {
        "factor": float(told_by.get("rescale_factor", 1 / 255)) if told_by.get("do_rescale") else 1,
        "mean": told_by["image_mean"] if normal else [0.0],
        "std": told_by["image_std"] if normal else [1.0],
    }


def _sides(size: Any, before: list[int]) -> list[int]:
    """Height and width after a step of the processor that is told this size."""
    if isinstance(size, int):
        return [size, size]
    if "shortest_edge" in size:
        edge, shortest = int(size["shortest_edge"]), min(before)
        return [round(side * edge / shortest) for side in before]
    return [int(size["height"]), int(size["width"])]


def _check_classes(config: Any, info: DatasetInfo, path: Path) -> None:
    """Refuses another number of classes, and the dataset's own names in another order. Other names
    are taken to mean the same classes, in the order of the labels."""
    names = [str(config.id2label[number]) for number in range(config.num_labels)]
    if len(names) != len(info.classes):
        raise UserError(
            f"{path} knows {len(names)} classes, and {info.path} has {len(info.classes)}; "
            "use a model of these classes"
        )
    if set(names) == set(info.classes) and names != list(info.classes):
        number = next(n for n, name in enumerate(names) if name != info.classes[n])
        raise UserError(
            f"{path} and {info.path} have the classes in another order: label {number} is "
            f"{names[number]} in the one and {info.classes[number]} in the other"
        )
