"""A classifier as an ONNX file, so that its answers can be checked without this code.

The graph takes stored pictures and includes all of the classifier's preprocessing:

    image    uint8 [N, H, W, C], any N    ->    logits    float32 [N, K]

ONNX refuses any other type or shape. The file's metadata names the classifier (`classifier_sha256`)
and its classes (`classes`, a JSON list).
"""

import copy
import importlib
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.chain.noise import Purpose, keyed_uniform
from pipeline.classifier import FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.output import sha256_of_file, write_bytes
from pipeline.formats.perturbation.verdict import logit_spread
from pipeline.importable import error_line

# Those of ONNX 1.13 (December 2022), which onnxruntime reads since 1.14.
OPSET = 18
IR_VERSION = 8
# torch's exporter imports the first two; the third is asked whether the file is the same function.
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
# A converter's notes: source paths, stack traces and names, which say nothing about the function.
_NOTES = ("doc_string", "metadata_props", "value_info")


# Of how far the highest logit lies above the middle one, by how much the file's may differ from the
# network's: rounding gives 2e-5 of it (18 modules, one operator each), another pixel taken
# somewhere 4e-2 and more.
_SAME = 1e-3
_FAR = 100.0  # such spreads below the highest logit: e^-1000 or so of its probability
_SHIFT = 8  # levels: a usual ball's corners
_NOISE_ROWS = 8

# Operators that onnxruntime has been seen to compute otherwise than torch, by type and attributes.
_CULPRITS: tuple[tuple[str, Mapping[str, object], str], ...] = (
    (
        "Resize",
        {"mode": "nearest"},
        "interpolate(mode='nearest') takes other pixels there; mode='nearest-exact' is the same",
    ),
    (
        "Resize",
        {"antialias": 1, "coordinate_transformation_mode": "align_corners"},
        "interpolate with antialias and align_corners is another function there; leave out either",
    ),
    (
        "GridSample",
        {"mode": "nearest"},
        "grid_sample(mode='nearest') may take another pixel there; mode='bilinear' is the same",
    ),
)


class _FromStored(nn.Module):
    """uint8 ``[N, H, W, C]`` to logits ``[N, K]``: `pipeline.pictures.to_unit`, then a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(image.permute(0, 3, 1, 2).float() / 255)
        return logits


def export_classifier(
    classifier: FrozenClassifier, path: Path | str, images: np.ndarray | None = None
) -> str:
    """Writes a classifier as ONNX, atomically, after comparing both on pictures.

    With the same versions of torch, onnx and onnxscript a classifier always gives the same bytes.

    Args:
        classifier: to export.
        path: of the file.
        images: pictures to compare on, uint8 ``[N, H, W, C]``, besides noise.

    Returns:
        The file's SHA-256.

    Raises:
        UserError: the extra ``[onnx]`` is not installed, the network has no ONNX form, or
            onnxruntime answers otherwise than the network.
    """
    content = onnx_bytes(classifier)
    _check_same(classifier, content, images)
    write_bytes(path, content)
    return sha256_of_file(path)


def _check_same(
    classifier: FrozenClassifier, content: bytes, images: np.ndarray | None = None
) -> None:
    """Refuses an ONNX file whose logits differ from its classifier's."""
    asked = _pictures(classifier.shape, images)
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        logits = np.concatenate(
            [
                session.run(["logits"], {"image": asked[start : start + classifier.rows_per_call]})[
                    0
                ]
                for start in range(0, len(asked), classifier.rows_per_call)
            ]
        )
    except Exception as error:
        raise UserError(
            f"onnxruntime cannot run the classifier's ONNX form ({error_line(error)}); leave out "
            "--export-onnx"
        ) from None
    due = classifier.logits_of(asked)
    asked_well = np.isfinite(due).all(axis=1)  # black divided by its deviation, say
    logits, due = logits[asked_well], due[asked_well]
    spread = logit_spread(due) if len(due) else 0.0
    # Classes that are masked, by -1e9 say, are far below: neither a measure nor to be told apart.
    least = due.max(axis=1, keepdims=True) - _FAR * spread
    logits, due = np.maximum(logits, least), np.maximum(due, least)
    off = np.abs(logits - due).max(axis=1)
    wrong = ~(off <= _SAME * spread)  # nor where it is no number
    if wrong.any():
        raise UserError(
            f"as ONNX the classifier is another function: onnxruntime gives other logits for "
            f"{int(wrong.sum())} of {len(due)} pictures, by up to {off.max():.2g} where they lie "
            f"{spread:.2g} apart{_suspects(content)}; change that in the classifier, or leave out "
            "--export-onnx"
        )


def _pictures(shape: tuple[int, int, int], images: np.ndarray | None) -> np.ndarray:
    """The pictures that try an ONNX file, uint8 ``[N, H, W, C]``.

    Real pictures, the same with each value moved up or down, noise, black and white.
    """
    index, zero = np.arange(_NOISE_ROWS), np.zeros(_NOISE_ROWS, np.int64)
    drawn = keyed_uniform(zero, index, 0, Purpose.PROBE, shape).numpy()
    noise = (drawn * 256).clip(0, 255).astype(np.uint8)
    flat = np.stack([np.full(shape, level, np.uint8) for level in (0, 255)])
    clean = images if images is not None else noise[:0]
    signs = np.where(np.resize(drawn, clean.shape) < 0.5, -_SHIFT, _SHIFT)
    moved = (clean.astype(np.int64) + signs).clip(0, 255).astype(np.uint8)
    return np.concatenate([clean, moved, noise, flat])


def _suspects(content: bytes) -> str:
    """The operators in a file that onnxruntime may compute differently, as the end of a message."""
    import onnx

    suspects = []
    for node in onnx.load_from_string(content).graph.node:
        has = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        has = {name: v.decode() if isinstance(v, bytes) else v for name, v in has.items()}
        for kind, attributes, text in _CULPRITS:
            if node.op_type == kind and attributes.items() <= has.items() and text not in suspects:
                suspects.append(text)
    return "".join(f", and its {text}" for text in suspects)


def onnx_bytes(classifier: FrozenClassifier) -> bytes:
    """What `export_classifier` writes; UserError without the extra ``[onnx]``."""
    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except ImportError:
            raise UserError(
                f"a classifier is exported by way of the package {name}, which is not installed; "
                "pip install 'noisestack[onnx]'"
            ) from None
    # It warns of torchvision, whose operators no classifier here has.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    # Two rows: an axis of one row is taken for a constant.
    example = torch.zeros((2, *classifier.shape), dtype=torch.uint8)
    with warnings.catch_warnings():
        # torch 2.13's exporter uses what torch.utils deprecates.
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
        try:
            module = _FromStored(copy.deepcopy(classifier.network).cpu()).eval()
            program = torch.onnx.export(
                module,
                (example,),
                input_names=["image"],
                output_names=["logits"],
                opset_version=OPSET,
                dynamic_shapes={"image": {0: torch.export.Dim("N")}},
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # a user's module may hold what has no ONNX
            raise UserError(
                f"the classifier cannot be written as ONNX ({error_line(error)}); leave out "
                "--export-onnx, or write its forward with operators that ONNX has"
            ) from None
    assert program is not None
    model: Any = program.model_proto
    _strip(model)
    for node in model.graph.node:
        node.ClearField("name")
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "noisestack", ""
    model.graph.name = "classifier"
    notes = {
        "classifier_sha256": classifier.sha256,
        "classes": json.dumps(list(classifier.classes), ensure_ascii=False),
    }
    for key, value in notes.items():
        model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString(deterministic=True))


def _strip(message: Any) -> None:
    """Removes `_NOTES` from a protobuf message and from all messages in it."""
    for field, value in message.ListFields():
        if field.name in _NOTES:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for inner in value if hasattr(value, "__len__") else [value]:
                _strip(inner)
