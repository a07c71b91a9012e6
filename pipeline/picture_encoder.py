"""Picture encoders: pictures to unit vectors in the space of a frozen text encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.fixed_batch import in_fixed_batches
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.model import StoredModel, open_model, save_model
from pipeline.networks.picture_encoder import PictureEncoderNetwork, PictureEncoderShape
from pipeline.networks.residual import rows_that_fit
from pipeline.pictures import to_unit
from pipeline.precision import full_float32

KIND = "picture_encoder"
POOLING = "picture"  # what an `EncoderId` of pictures has in the place of a way to pool tokens
_WEIGHTS = "picture_encoder"


class PictureEncoder:
    """A frozen picture encoder.

    Attributes:
        text_encoder: whose pooled space the vectors lie in.
        shape: (height, width, channels) of a picture.
        sha256: the content hash of its directory: its identity.
        rows_per_call: the size that calls are padded to. On one machine a picture's vector then has
            the same bits, whichever other pictures share its call.
        device: where it computes.
        name: what it was loaded from; empty for one in memory.
    """

    def __init__(
        self,
        network: PictureEncoderNetwork,
        text_encoder: EncoderId,
        *,
        sha256: str = "",
        rows_per_call: int | None = None,
        device: torch.device | str = "cpu",
        name: str = "",
    ) -> None:
        if network.shape.num_dimensions != text_encoder.width:
            raise ValueError(
                f"the network's vectors have {network.shape.num_dimensions} dimensions and the "
                f"text encoder's {text_encoder.width}"
            )
        # A fifth faster on a CPU than with each channel by itself.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.text_encoder = text_encoder
        self.shape = (network.shape.height, network.shape.width, network.shape.channels)
        self.sha256 = sha256
        self.rows_per_call = rows_per_call or rows_that_fit(network.shape)
        self.device = torch.device(device)
        self.name = name
        network.eval()
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        self._network = network.to(self.device)

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> "PictureEncoder":
        """Load a model directory, verifying its hashes.

        Raises:
            UserError: the directory is missing, incomplete, damaged, or no picture encoder's.
        """
        stored = open_model(path, KIND)
        shape, text_encoder, rows_per_call = _read_config(stored)
        network = PictureEncoderNetwork(shape)
        try:
            network.load_state_dict(stored.weights(_WEIGHTS))
        except RuntimeError:
            raise UserError(
                f"the weights in {path} do not fit the network in its config.json; "
                "train the picture encoder again"
            ) from None
        return cls(
            network,
            text_encoder,
            sha256=stored.sha256,
            rows_per_call=rows_per_call,
            device=device,
            name=str(stored.path),
        )

    @property
    def id(self) -> EncoderId:
        """Which encoder made an embedding of a picture."""
        return EncoderId(
            name=self.name,
            sha256=self.sha256,
            tokenizer_sha256="",
            max_length=0,
            pooling=POOLING,
            width=self.text_encoder.width,
        )

    def __call__(self, x: Tensor) -> Tensor:
        """float32 ``[N, C, H, W]`` in [0, 1] to unit vectors ``[N, D]``, differentiable."""
        vectors: Tensor = self._network(x.to(self.device))
        return vectors

    def check_shape(self, shape: Sequence[int], whose: str) -> None:
        """Raises UserError for pictures of another shape; ``whose``: which they are, in words."""
        if tuple(shape) != self.shape:
            ours, theirs = ("x".join(map(str, sizes)) for sizes in (self.shape, shape))
            raise UserError(
                f"the picture encoder {self.name} is for pictures of {ours}, and {whose} are "
                f"{theirs} (height x width x channels); train one on pictures of that shape"
            )

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 ``[N, H, W, C]`` to unit vectors, float32 ``[N, D]``, in calls of a fixed size.

        Raises:
            UserError: the pictures are of another shape.
        """
        if images.dtype != np.uint8:
            raise ValueError(f"images must be uint8, not {images.dtype}")
        self.check_shape(images.shape[1:], "these")
        if not len(images):
            return np.empty((0, self.text_encoder.width), np.float32)
        with full_float32(), torch.inference_mode():
            rows = in_fixed_batches(self, to_unit(images), rows_per_call=self.rows_per_call)
        return np.asarray(rows.cpu().numpy())


def picture_encoder_for(
    wanted: EncoderId, given: str | None, device: torch.device | str = "cpu"
) -> PictureEncoder:
    """The encoder whose vectors a model was trained on.

    Args:
        wanted: what the model states.
        given: the directory that a person gave; None for the stated name.

    Raises:
        UserError: it is not at hand, or what was given is another.
    """
    name = given or wanted.name
    try:
        found = PictureEncoder.load(name, device)
    except UserError as error:
        if given is not None:
            raise
        raise UserError(
            f"the picture encoder {wanted.name} is needed ({error}); name it with --picture-encoder"
        ) from None
    if not wanted.same_as(found.id):
        raise UserError(
            f"{name} is another picture encoder than {wanted.name}, which is needed: its hash is "
            f"{found.sha256[:12]}…, not {wanted.sha256[:12]}…; name that with --picture-encoder"
        )
    return found


def save_picture_encoder(
    path: Path | str,
    network: PictureEncoderNetwork,
    text_encoder: EncoderId,
    card: Mapping[str, Any],
) -> str:
    """Write a model directory of kind "picture_encoder"; returns its content hash.

    Args:
        text_encoder: whose pooled space the vectors lie in.
    """
    return save_model(
        path,
        kind=KIND,
        config={
            "network": asdict(network.shape),
            "text_encoder": asdict(text_encoder),
            "rows_per_call": rows_that_fit(network.shape),
        },
        weights={_WEIGHTS: network.state_dict()},
        card=dict(card),
    )


def _read_config(stored: StoredModel) -> tuple[PictureEncoderShape, EncoderId, int]:
    try:
        network = dict(stored.config["network"])
        shape = PictureEncoderShape(**{**network, "widths": tuple(network["widths"])})
        text_encoder = EncoderId(**stored.config["text_encoder"])
        rows_per_call = int(stored.config["rows_per_call"])
        if shape.num_dimensions != text_encoder.width or rows_per_call < 1:
            raise ValueError(f"{shape.num_dimensions} dimensions for {text_encoder.width}")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the config.json in {stored.path} is not a picture encoder's ({error}); "
            "train the picture encoder again"
        ) from None
    return shape, text_encoder, rows_per_call
