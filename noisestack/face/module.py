"""A user's torch module in memory: asked as a frozen classifier, and given back as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from noisestack.face.classifier import Classifier, described, frozen_module
from noisestack.face.pictures import whole_number
from pipeline.classifier import ROWS_PER_CALL, FrozenClassifier
from pipeline.errors import UserError
from pipeline.importable import error_line
from pipeline.pictures import to_unit


@contextmanager
def left_as_found(model: nn.Module | Classifier) -> Iterator[None]:
    """Gives a user's module its modes, its gradients and its compiled calls back."""
    if not isinstance(model, nn.Module):
        yield
        return
    parts, parameters = list(model.modules()), list(model.parameters())
    modes = [getattr(part, "training", False) for part in parts]
    compiled = [getattr(part, "_compiled_call_impl", None) for part in parts]
    wanted = [parameter.requires_grad for parameter in parameters]
    try:
        yield
    finally:
        for part, mode, call in zip(parts, modes, compiled, strict=True):
            if getattr(part, "training", mode) != mode:
                part.training = mode
            if call is not None:
                part._compiled_call_impl = call
        for parameter, wants in zip(parameters, wanted, strict=True):
            if parameter.requires_grad != wants:  # some kinds refuse to be told what they are
                with torch.inference_mode(parameter.is_inference()):
                    parameter.requires_grad_(wants)


def of_module(module: nn.Module, images: np.ndarray, rows_per_call: int | None) -> FrozenClassifier:
    """The module with as many classes as it has logits."""
    rows = (
        ROWS_PER_CALL if rows_per_call is None else whole_number(rows_per_call, "rows_per_call", 1)
    )
    height, width, channels = (int(size) for size in images.shape[1:])
    shape = (height, width, channels)
    asked = frozen_module(module, described(shape, ()), rows_per_call=rows)
    try:
        with torch.no_grad():
            logits = asked(to_unit(np.resize(images[:rows], (rows, *shape))))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the model raised {error_line(error)} when asked about {rows} pictures, float32 "
            f"{[rows, channels, height, width]}; it must take these, or give rows_per_call"
        ) from None
    if logits.ndim != 2 or logits.shape[0] != rows or logits.shape[1] < 2:
        raise UserError(
            f"the model returns {list(logits.shape)} for {rows} pictures, not logits [{rows}, K] "
            "of two classes or more"
        )
    asked.classes = tuple(map(str, range(logits.shape[1])))
    return asked
