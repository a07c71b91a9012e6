"""The table `transformers_processors` of docs/own_models.md: what becomes of each type of image
classifier in the installed version of transformers, with its type's default image processor.

    python -m docs.tables.transformers_processors

Each type is built with few random weights, saved, and loaded as a user's directory is, for pictures
of 224x224 and of 32x32. Where it is taken, its logits are held against those that its own processor
and model give. Nothing is downloaded.
"""

import json
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import CONFIG_MAPPING, AutoImageProcessor, AutoModelForImageClassification
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as TYPES,
)

from docs.tables.page import as_markdown, replace_table
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.importable import error_line
from pipeline.user_models.processor import noise_pictures
from pipeline.user_models.transformers_directory import PROCESSOR_FILE, load_from_transformers

PAGE, NAME = "own_models.md", "transformers_processors"
SIDES = (224, 32)
CLASSES = ("a", "b", "c")
# What makes a config small, where it has the key, and keeps it a config of its type.
_SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "projection_dim": 16, "n_embd": 16, "n_layer": 1, "n_head": 2, "depth_multiplier": 0.25,
    "width_coefficient": 0.5, "depth_coefficient": 0.3, "num_latents": 8, "d_latents": 16,
    "num_self_attends_per_block": 1, "num_self_attention_heads": 2, "num_cross_attention_heads": 1,
}  # fmt: skip
_SMALL_PARTS = ("vision_config", "text_config")
_NOT_BUILT = {"shieldgemma2": "asked with a picture and the text of a policy"}
# As the well-known weights of these types have it; below 384 their processor does something else.
_AT_224 = {"size": {"shortest_edge": 224}}
_SETTINGS: dict[str, tuple[dict[str, Any], ...]] = dict.fromkeys(
    ("convnext", "convnextv2", "cvt", "regnet", "resnet"), ({}, _AT_224)
)


def main() -> None:
    """Makes the table anew."""
    transformers.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    header = ["type", "its processor", *(f"pictures of {side}x{side}" for side in SIDES)]
    rows = []
    for kind in TYPES:
        for settings in _SETTINGS.get(kind, ({},)):
            said = f", {json.dumps(settings)}" if settings else ""
            rows.append([f"`{kind}`{said}", *_row(kind, settings)])
            print(*rows[-1], sep=" | ", flush=True)
    replace_table(PAGE, NAME, as_markdown(header, rows))


def _row(kind: str, settings: dict[str, Any]) -> list[str]:
    if kind in _NOT_BUILT:
        return ["", f"not built: {_NOT_BUILT[kind]}", ""]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / kind
        try:
            _save(kind, path)
        except ImportError as error:
            return ["", f"not built here: {error_line(error).partition(' but ')[0]}", ""]
        (path / PROCESSOR_FILE).write_text(json.dumps(settings))
        return [_processor_name(path), *_cells(path)]


def _save(kind: str, path: Path) -> None:
    """A directory of that type, as save_pretrained writes it."""
    torch.manual_seed(0)
    usual = CONFIG_MAPPING[kind]()
    parts = {name: getattr(usual, name) for name in _SMALL_PARTS if hasattr(usual, name)}
    config = CONFIG_MAPPING[kind](
        **_small(usual),
        **{name: {**part.to_dict(), **_small(part)} for name, part in parts.items()},
        num_labels=len(CLASSES),
        id2label=dict(enumerate(CLASSES)),
        label2id={name: number for number, name in enumerate(CLASSES)},
    )
    config.architectures = [first if isinstance(first := TYPES[kind], str) else first[0]]
    model = AutoModelForImageClassification.from_config(config).eval()
    with torch.no_grad():  # some types begin with a head of zeros
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(path)


def _small(config: Any) -> dict[str, Any]:
    return {
        key: value
        for key, value in _SMALL.items()
        if isinstance(getattr(config, key, None), int | float)
    }


def _processor_name(path: Path) -> str:
    try:
        found = AutoImageProcessor.from_pretrained(path, backend="pil", local_files_only=True)
    except Exception:
        return "none"
    return f"`{type(found).__name__.removesuffix('Pil')}`"


def _cells(path: Path) -> Iterator[str]:
    for side in SIDES:
        info = DatasetInfo(Path("the pictures"), (side, side, 3), CLASSES, {}, False, "")
        try:
            classifier = load_from_transformers(path, info, rows_per_call=2)
        except UserError as error:
            yield _short(str(error))
            continue
        images = noise_pictures(side, side, 3)[:2]
        try:
            expected = _own_logits(path, images)
        except Exception as error:
            yield f"taken, but its own model fails: {error_line(error)}"
            continue
        off = np.abs(classifier.logits_of(images) - expected).max() / np.ptp(expected)
        assert off < 1e-4, (path.name, side, off)
        yield "taken"


def _own_logits(path: Path, images: np.ndarray) -> np.ndarray:
    processor = AutoImageProcessor.from_pretrained(path, backend="pil", local_files_only=True)
    model = AutoModelForImageClassification.from_pretrained(path, local_files_only=True).eval()
    given = processor([Image.fromarray(image) for image in images], return_tensors="pt")
    with torch.no_grad():
        return model(**given).logits.numpy()


def _short(message: str) -> str:
    """A refusal as a cell."""
    for pattern, cell in (
        (r"is for pictures of (\d+x\d+)", r"ingest at {}"),
        (r"to a picture of (\d+x\d+) than scale it: (.*?); prepare", r"refused at {}: {}"),
        (r"with a gradient: (.*?); write", r"refused: {}"),
        (r"fails: (.*?); correct", r"refused: {}"),
        (r"cannot be loaded .*Unrecognized image", r"refused: it has no default processor"),
        (r"cannot be loaded .*torchvision", r"refused: its processor needs torchvision"),
    ):
        if found := re.search(pattern, message):
            return cell.format(*found.groups())
    return f"refused: {message.split(' ', 1)[1]}"


if __name__ == "__main__":
    main()
