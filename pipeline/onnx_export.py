"""A classifier as an ONNX file, so that its answers can be checked without this code.

The graph takes the pictures as they are stored and holds all that the classifier does to them:

    image    uint8 [N, H, W, C], any N    ->    logits    float32 [N, K]

ONNX refuses any other type or shape. The file's metadata names the classifier (`classifier_sha256`)
and its classes (`classes`, a JSON list).
"""

import copy
import importlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.classifier import FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.output import sha256_of_file, write_bytes
from pipeline.importable import told

# Those of ONNX 1.13 (December 2022), which onnxruntime reads since 1.14.
OPSET = 18
IR_VERSION = 8
_NEEDED = ("onnx", "onnxscript")  # torch's exporter imports these two
# A converter's notes: source paths, stack traces and names, which say nothing about the function.
_NOTES = ("doc_string", "metadata_props", "value_info")


class _FromStored(nn.Module):
    """uint8 ``[N, H, W, C]`` to logits ``[N, K]``: `pipeline.pictures.to_unit`, then a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(image.permute(0, 3, 1, 2).float() / 255)
        return logits


def export_classifier(classifier: FrozenClassifier, path: Path | str) -> str:
    """Write a classifier as ONNX, atomically; one classifier always gives the same bytes.

    The same bytes, that is, with the same versions of torch, onnx and onnxscript.

    Returns:
        The file's SHA-256.

    Raises:
        UserError: the extra ``[onnx]`` is not installed, or the network has no ONNX form.
    """
    write_bytes(path, onnx_bytes(classifier))
    return sha256_of_file(path)


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
    module = _FromStored(copy.deepcopy(classifier.network).cpu()).eval()
    # Two rows: an axis of one row is taken for a constant.
    example = torch.zeros((2, *classifier.shape), dtype=torch.uint8)
    with warnings.catch_warnings():
        # torch 2.13's exporter uses what torch.utils deprecates.
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
        try:
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
                f"the classifier cannot be written as ONNX ({told(error)}); leave out "
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
