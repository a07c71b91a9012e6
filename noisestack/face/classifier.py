"""A classifier to ask: a stored one of any kind, or a torch module in memory."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from noisestack.face.dataset import Dataset, open_dataset
from noisestack.face.local_path import local_path
from noisestack.face.pictures import checked_labels, unit_pictures, whole_number
from noisestack.face.rate import Rate
from pipeline import classifier as stored
from pipeline.classifier import ROWS_PER_CALL, UNIT_RANGE, FrozenClassifier
from pipeline.errors import UserError
from pipeline.fixed_batch import in_fixed_batches
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.output import sha256_of_json
from pipeline.importable import is_importable
from pipeline.precision import full_float32
from pipeline.user_models.boundary import UserModule, layers_in_training, unwrapped
from pipeline.user_models.function import state_sha256
from pipeline.user_models.load import load_classifier as load_any
from pipeline.user_models.transformers_directory import is_transformers_directory

# Stands where messages name a dataset, when shape and classes were given in its place.
_CALLER = Path("the caller")


class Classifier:
    """Pictures to logits by a frozen network in evaluation mode. See `load_classifier`.

    Attributes:
        frozen: what computes: the network in calls of a fixed size.
    """

    def __init__(self, frozen: FrozenClassifier) -> None:
        self.frozen = frozen

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.frozen.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a picture."""
        return self.frozen.shape

    @property
    def sha256(self) -> str:
        """The classifier's identity: a hash over what decides its answers."""
        return self.frozen.sha256

    @overload
    def __call__(self, x: np.ndarray) -> np.ndarray: ...

    @overload
    def __call__(self, x: Tensor) -> Tensor: ...

    def __call__(self, x: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Logits: an array of an array, a tensor of a tensor.

        An array is checked, and asked about in padded calls of a fixed size: a picture's logits
        then have the same bits whatever other pictures were asked about, as when a perturbation
        set is judged. A tensor of floats is given to the network as it is, and the logits can be
        differentiated by it; its values may lie outside [0, 1], as those of noisy pictures do.

        Args:
            x: uint8 ``[N, H, W, C]``, or floats ``[N, C, H, W]``.

        Returns:
            float32 ``[N, K]``.

        Raises:
            UserError: pictures of another type or shape; an array's values outside [0, 1].
        """
        if isinstance(x, Tensor):
            if not x.is_floating_point():
                return self.frozen(unit_pictures(x, "x", self.shape))
            height, width, channels = self.shape
            if x.ndim != 4 or x.shape[1:] != (channels, height, width):
                unit_pictures(x.detach(), "x", self.shape)
            return self.frozen(x)
        with full_float32(), torch.inference_mode():
            return self._rowwise(unit_pictures(x, "x", self.shape)).cpu().numpy()

    def predict(self, x: np.ndarray | Tensor) -> np.ndarray:
        """The most likely class of each picture, int64 ``[N]``.

        Args:
            x: uint8 ``[N, H, W, C]``, or floats ``[N, C, H, W]`` in [0, 1].

        Raises:
            UserError: pictures of another type, shape or range.
        """
        with full_float32(), torch.inference_mode():
            logits = self._rowwise(unit_pictures(x, "x", self.shape))
        return logits.argmax(dim=1).cpu().numpy()

    def accuracy(self, x: np.ndarray | Tensor, y: Any) -> Rate:
        """The share of pictures that are given their label, with its exact 95 % interval.

        Args:
            x: as `predict` takes them.
            y: whole numbers ``[N]``, the labels.

        Raises:
            UserError: pictures as `predict`; labels outside the classes, or not one a picture.
        """
        predicted = self.predict(x)
        labels = checked_labels(y, len(predicted), len(self.classes))
        return Rate(int((predicted == labels).sum()), len(labels))

    def __repr__(self) -> str:
        kind = self.frozen.origin.get("kind", "module")
        return f"<Classifier ({kind}) of {len(self.classes)} classes; pictures {self.shape}>"

    def _rowwise(self, x: Tensor) -> Tensor:
        logits = in_fixed_batches(self.frozen, x, rows_per_call=self.frozen.rows_per_call)
        if logits.shape != (len(x), len(self.classes)):
            raise UserError(
                f"the model returns {list(logits.shape)} for {len(x)} pictures, and "
                f"{len(self.classes)} classes need [{len(x)}, {len(self.classes)}]"
            )
        return logits


def load_classifier(
    model: str | os.PathLike[str] | nn.Module,
    *,
    dataset: str | os.PathLike[str] | Dataset | None = None,
    classes: Sequence[str] | None = None,
    shape: Sequence[int] | None = None,
    weights: str | os.PathLike[str] | None = None,
    rows_per_call: int | None = None,
    device: torch.device | str = "cpu",
) -> Classifier:
    """A classifier, frozen and in evaluation mode.

    Noisestack's own know their classes and the shape of their pictures. The others are told them:
    by the dataset that they are for, or by ``classes`` and ``shape``.

    Args:
        model: a directory that `train-classifier` or ``save_pretrained`` of transformers wrote; or
            ``module:function``, which returns a torch module; or such a module itself, from float32
            ``[N, C, H, W]`` in [0, 1] to logits ``[N, K]``.
        dataset: the dataset's directory, or what `open_dataset` gave.
        classes: the names of the classes, in the order of the logits.
        shape: height, width and channels of a picture.
        weights: a safetensors file with the module's state, for ``module:function`` alone.
        rows_per_call: pictures in a call; None for 64. Noisestack's own have their own.
        device: where it computes, such as ``cuda``. A module that is given is moved there.

    Raises:
        UserError: there is no such classifier, it does not fit, or it is not told what it is for.
    """
    info = _what_for(dataset, classes, shape)
    if rows_per_call is not None:
        whole_number(rows_per_call, "rows_per_call", 1)
    if isinstance(model, nn.Module):
        if info is None:
            raise UserError("give dataset, or classes and shape: a module does not say what it is")
        if weights is not None:
            raise UserError("weights go with a classifier that is given as module:function")
        state = state_sha256(unwrapped(model))
        name = type(unwrapped(model)).__name__
        identity = {"module": name, "state": state, "classes": info.classes}
        return Classifier(
            frozen_module(
                model,
                info,
                rows_per_call=rows_per_call,
                device=device,
                sha256=sha256_of_json(identity),
                origin={
                    "kind": "module",
                    "module": name,
                    "state_sha256": state,
                    "preprocessing": {**UNIT_RANGE, "then": f"what the module {name} does"},
                },
            )
        )
    spec = os.fspath(model) if isinstance(model, os.PathLike) else model
    if not isinstance(spec, str):
        raise UserError(f"{model!r} is no classifier; give a path, module:function or a module")
    if not is_importable(spec):
        path = local_path(spec)
        spec = str(path)
        if path.suffix == ".onnx":  # refused below, with the reason
            info = info or described((1, 1, 1), ())
        own = not is_transformers_directory(path)
        if own and info is None and weights is None and rows_per_call is None:
            return Classifier(stored.Classifier.load(path, device))
    if info is None:
        raise UserError(f"give dataset, or classes and shape: {spec} does not say what it is for")
    return Classifier(
        load_any(
            spec,
            info,
            weights=None if weights is None else local_path(weights),
            rows_per_call=rows_per_call,
            device=device,
        )
    )


def frozen_module(
    module: nn.Module,
    info: DatasetInfo,
    *,
    rows_per_call: int | None = None,
    device: torch.device | str | None = None,
    sha256: str = "",
    origin: Mapping[str, Any] | None = None,
) -> FrozenClassifier:
    """A torch module in memory as what attacks ask; its parameters are frozen from now on.

    Args:
        info: of which shape and classes count.
        device: None for the device of its first parameter.
        sha256, origin: see `FrozenClassifier`.

    Raises:
        UserError: the module cannot be put in evaluation mode.
    """
    training_layers = layers_in_training(module)
    inner = unwrapped(module)
    if device is None:
        device = next((p.device for p in inner.parameters()), torch.device("cpu"))
    rows = rows_per_call or ROWS_PER_CALL
    height, width, channels = info.shape
    brought = UserModule(
        inner.to(device),
        len(info.classes),
        what=f"the module {type(inner).__name__}",
        pictures=torch.full((rows, channels, height, width), 0.5, device=device),
    )
    return FrozenClassifier(
        brought,
        info.classes,
        info.shape,
        sha256=sha256,
        rows_per_call=rows,
        device=device,
        training_layers=training_layers,
        origin=origin,
    )


def described(shape: tuple[int, int, int], classes: Sequence[str]) -> DatasetInfo:
    """Shape and classes where a dataset is asked for that nobody has."""
    return DatasetInfo(_CALLER, shape, tuple(classes), {}, False, "")


def _what_for(
    dataset: str | os.PathLike[str] | Dataset | None,
    classes: Sequence[str] | None,
    shape: Sequence[int] | None,
) -> DatasetInfo | None:
    if dataset is not None:
        if classes is not None or shape is not None:
            raise UserError("dataset says classes and shape; leave those out")
        return (dataset if isinstance(dataset, Dataset) else open_dataset(dataset)).info
    if classes is None and shape is None:
        return None
    if classes is None or shape is None:
        raise UserError("classes and shape go together; give both, or dataset")
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        raise UserError(
            f"classes is {classes!r}; give the names of the classes, such as ['a', 'b']"
        )
    if not isinstance(shape, Iterable):
        raise UserError(f"shape is {shape!r}; give height, width and channels")
    sizes = tuple(whole_number(size, "shape", 1) for size in shape)
    if len(sizes) != 3:
        raise UserError(f"shape is {list(sizes)}; give height, width and channels")
    height, width, channels = sizes
    return described((height, width, channels), [str(name) for name in classes])
