"""Classifiers as frozen callables from pictures to logits: any network, and Noisestack's own."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.fixed_batch import in_fixed_batches
from pipeline.formats.model import StoredModel, open_model, save_model
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape
from pipeline.networks.residual import rows_that_fit
from pipeline.pictures import to_unit
from pipeline.precision import full_float32

KIND = "classifier"
_WEIGHTS = "classifier"
# The default size that calls on uint8 pictures are padded to; for our own, see `rows_that_fit`.
ROWS_PER_CALL = 64
# The input of every classifier; further preprocessing of its own is stated beside it.
UNIT_RANGE = {"input": "float32 [N, C, H, W], levels / 255"}


class FrozenClassifier:
    """Pictures to logits by any network; its weights are frozen, and it has no training mode.

    Attributes:
        classes: the name of each class, in the order of the logits.
        shape: (height, width, channels) of a picture.
        sha256: the classifier's identity.
        rows_per_call: the size that calls on 8-bit pictures are padded to. On one machine a
            picture's logits then have the same bits, whichever other pictures share its call.
        device: where it computes.
        origin: where it comes from and what it does to a picture before its first layer, as JSON
            can hold it.
        training_layers: the names of layers that behave differently in training and were in that
            mode when the network was given; they are in evaluation mode now.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: tuple[str, ...],
        shape: tuple[int, int, int],
        *,
        sha256: str = "",
        rows_per_call: int = ROWS_PER_CALL,
        device: torch.device | str = "cpu",
        origin: Mapping[str, Any] | None = None,
        training_layers: tuple[str, ...] = (),
    ) -> None:
        self.classes = classes
        self.shape = shape
        self.sha256 = sha256
        self.rows_per_call = rows_per_call
        self.device = torch.device(device)
        self.origin = dict(origin or {})
        self.training_layers = training_layers
        network.eval()
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        self._network = network.to(self.device)

    @property
    def network(self) -> nn.Module:
        """The frozen network, on `device`. Not to be changed."""
        return self._network

    def __call__(self, x: Tensor) -> Tensor:
        """float32 ``[N, C, H, W]`` in [0, 1] to logits ``[N, K]``, differentiable by ``x``."""
        logits: Tensor = self._network(x.to(self.device))
        return logits

    def logits_of(self, images: np.ndarray) -> np.ndarray:
        """uint8 ``[N, H, W, C]`` to float32 logits ``[N, K]``, in padded calls of a fixed size."""
        return self._rowwise(self, images)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """uint8 ``[N, H, W, C]`` to the most likely class, int64 ``[N]``."""
        return np.asarray(self.logits_of(images).argmax(axis=1), dtype=np.int64)

    def _rowwise(self, function: Any, images: np.ndarray) -> np.ndarray:
        if images.shape[1:] != self.shape or images.dtype != np.uint8:
            raise ValueError(f"images must be uint8 [N, {self.shape}], not {images.shape}")
        with full_float32(), torch.inference_mode():
            rows = in_fixed_batches(function, to_unit(images), rows_per_call=self.rows_per_call)
        return np.asarray(rows.cpu().numpy())


class Classifier(FrozenClassifier):
    """A classifier of Noisestack's own; its identity is the content hash of its directory."""

    def __init__(
        self,
        network: ClassifierNetwork,
        classes: tuple[str, ...],
        *,
        sha256: str = "",
        rows_per_call: int = ROWS_PER_CALL,
        device: torch.device | str = "cpu",
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        # A fifth faster on a CPU, forward and backward, than with each channel by itself.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        shape = (network.shape.height, network.shape.width, network.shape.channels)
        super().__init__(
            network,
            classes,
            shape,
            sha256=sha256,
            rows_per_call=rows_per_call,
            device=device,
            origin=origin,
        )
        self._own = network

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> "Classifier":
        """Load a model directory, verifying its hashes.

        Raises:
            UserError: the directory is missing, incomplete, damaged, or not a classifier's.
        """
        stored = open_model(path, KIND)
        shape, classes, rows_per_call = _read_config(stored)
        network = ClassifierNetwork(shape)
        try:
            network.load_state_dict(stored.weights(_WEIGHTS))
        except RuntimeError:
            raise UserError(
                f"the weights in {path} do not fit the network in its config.json; "
                "train the classifier again"
            ) from None
        return cls(
            network,
            classes,
            sha256=stored.sha256,
            rows_per_call=rows_per_call,
            device=device,
            origin={"kind": "noisestack", "preprocessing": UNIT_RANGE},
        )

    @property
    def network(self) -> ClassifierNetwork:
        """The frozen network, on `device`. Not to be changed."""
        return self._own

    @property
    def num_features(self) -> int:
        """D, the length of `features`."""
        return self._own.num_features

    def features(self, x: Tensor) -> Tensor:
        """float32 ``[N, C, H, W]`` in [0, 1] to penultimate features ``[N, D]``, >= 0."""
        return self._own.features(x.to(self.device))

    def features_of(self, images: np.ndarray) -> np.ndarray:
        """uint8 ``[N, H, W, C]`` to float32 features ``[N, D]``, in calls as of `logits_of`."""
        return self._rowwise(self.features, images)


def save_classifier(
    path: Path | str,
    network: ClassifierNetwork,
    classes: tuple[str, ...],
    card: Mapping[str, Any],
) -> str:
    """Write a model directory of kind "classifier"; returns its content hash."""
    return save_model(
        path,
        kind=KIND,
        config={
            "network": asdict(network.shape),
            "classes": list(classes),
            "rows_per_call": rows_that_fit(network.shape),
        },
        weights={_WEIGHTS: network.state_dict()},
        card=dict(card),
    )


def _read_config(stored: StoredModel) -> tuple[ClassifierShape, tuple[str, ...], int]:
    try:
        network = dict(stored.config["network"])
        shape = ClassifierShape(**{**network, "widths": tuple(network["widths"])})
        classes = tuple(str(name) for name in stored.config["classes"])
        rows_per_call = int(stored.config["rows_per_call"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the config.json in {stored.path} is not a classifier's ({error}); "
            "train the classifier again"
        ) from None
    if len(classes) != shape.num_classes or rows_per_call < 1:
        raise UserError(
            f"the config.json in {stored.path} contradicts itself: {len(classes)} class names for "
            f"{shape.num_classes} logits; train the classifier again"
        )
    return shape, classes, rows_per_call
